package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// errDryRun makes a dry run roll back.
var errDryRun = errors.New("dry run")

// Redrive decodes and judges dead letters again, in their order. They take the same
// path as every record: decode returns their changes, as for a record that arrives, and
// then they are judged against the current entities. A dead letter that gets a better
// verdict is removed. The others stay, with the new reason and one more attempt.
// Redriving a dead letter twice has no further effect.
//
// A dead letter that the store did not list, such as one that was stored as JSON, needs
// only its ID: Redrive reads it again.
//
// Redrive returns the new outcomes, in order. Ignored means that the dead letter no
// longer exists, or that its record now asks for no change. After an error, the
// outcomes are those of the first dead letters, which are settled. If decode is in trouble
// (see [versioning.Trouble]), Redrive settles the dead letters before that one, and returns
// the trouble.
func (s *Store) Redrive(ctx context.Context, deadLetters []versioning.DeadLetter, decode func(*versioning.Record) ([]versioning.Change, error)) ([]versioning.Outcome, error) {
	return s.redrive(ctx, nil, deadLetters, decode)
}

// RedriveAs is [Store.Redrive] for an operator: each of its transactions also records in the table
// audit which dead letters it has judged again. The role needs INSERT on that table, and the
// schema version 8 or newer; otherwise the error is [ErrAudit]. Dead letters that no longer exist
// are not recorded.
func (s *Store) RedriveAs(ctx context.Context, act Act, deadLetters []versioning.DeadLetter, decode func(*versioning.Record) ([]versioning.Change, error)) ([]versioning.Outcome, error) {
	if err := s.schema.checkAudit(ctx, s.pool, &act); err != nil {
		return nil, err
	}
	return s.redrive(ctx, &act, deadLetters, decode)
}

// redrive redrives dead letters, and records that for an act.
func (s *Store) redrive(ctx context.Context, act *Act, deadLetters []versioning.DeadLetter, decode func(*versioning.Record) ([]versioning.Change, error)) ([]versioning.Outcome, error) {
	records, err := s.deadRecords(ctx, deadLetters)
	if err != nil {
		return nil, err
	}
	ready, trouble := s.snapshot.Load().toRedrive(records, decode)
	if len(ready) == 0 {
		return nil, trouble
	}
	if act != nil {
		for i, r := range ready {
			own(r).redriven = &redriven{act, deadLetters[i].ID}
		}
	}
	result, err := s.Apply(ctx, "", ready)
	return result.Outcomes, cmp.Or(err, trouble)
}

// DryRedrive returns the outcomes that Redrive would return, but writes nothing. Until
// it returns, it holds the locks that the writes would need. If decode is in trouble, it
// returns that and no outcomes.
func (s *Store) DryRedrive(ctx context.Context, deadLetters []versioning.DeadLetter, decode func(*versioning.Record) ([]versioning.Change, error)) (outcomes []versioning.Outcome, err error) {
	records, err := s.deadRecords(ctx, deadLetters)
	if err != nil {
		return nil, err
	}
	err = s.retryAltered(ctx, func(e *snapshot) error {
		outcomes = nil
		return pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
			ready, err := e.toRedrive(records, decode)
			if err != nil {
				return err
			}
			for _, r := range ready {
				outcome, err := e.dryRun(ctx, tx, r)
				if err != nil {
					return fmt.Errorf("dry run of redriving %s: %w", r.Origin, err)
				}
				outcomes = append(outcomes, outcome)
			}
			return errDryRun
		})
	})
	if errors.Is(err, errDryRun) {
		err = nil
	}
	return outcomes, withCause(throughPooler(err))
}

// deadRecords returns the records of dead letters. It reads those that the store did
// not list: only the database knows their scope. If a dead letter no longer exists, its
// record is empty.
func (s *Store) deadRecords(ctx context.Context, deadLetters []versioning.DeadLetter) ([]*versioning.Record, error) {
	var unlisted []int64
	for _, l := range deadLetters {
		if !isListed(l.Record) {
			unlisted = append(unlisted, l.ID)
		}
	}
	read := make(map[int64]*versioning.Record, len(unlisted))
	if len(unlisted) > 0 {
		found, err := s.DeadLetters(ctx, DeadLetterFilter{IDs: unlisted, Limit: len(unlisted)})
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			read[l.ID] = l.Record
		}
	}
	records := make([]*versioning.Record, len(deadLetters))
	for i, l := range deadLetters {
		switch r := read[l.ID]; {
		case isListed(l.Record):
			records[i] = l.Record
		case r == nil, l.Record != nil && l.Record.Origin != r.Origin: // a restored database may give an ID again
			records[i] = &versioning.Record{}
		default:
			records[i] = r
		}
	}
	return records, nil
}

// isListed reports whether a dead letter's record was read from the database.
func isListed(r *versioning.Record) bool { return r != nil && preparedOf(r).kept != nil }

// toRedrive returns copies of dead letters' records, decoded and prepared. If decode is in
// trouble, it returns those before that record, and the trouble.
func (s *snapshot) toRedrive(dead []*versioning.Record, decode func(*versioning.Record) ([]versioning.Change, error)) (records []*versioning.Record, trouble error) {
	for i := range dead {
		r := *dead[i]
		r.Redrive = true
		switch {
		case !isListed(&r):
		case r.IsTimer():
			r.Decode(versioning.DecodeTimer)
		case r.IsDelivery():
			s.decodeDelivery(&r)
		default:
			r.Decode(decode)
			if err := r.Trouble(); err != nil {
				return records, fmt.Errorf("decode the dead letter of %s: %w", r.Origin, err)
			}
		}
		s.ready(&r)
		records = append(records, &r)
	}
	return records, nil
}

// dryRun applies a record in a transaction that will be rolled back.
func (s *snapshot) dryRun(ctx context.Context, tx pgx.Tx, r *versioning.Record) (versioning.Outcome, error) {
	d := s.decisionOn([]*versioning.Record{r})
	var plan *versioning.Plan
	try := func(refused map[*versioning.Record]error) error {
		return pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
			view, err := s.read(ctx, savepoint, d.records, true)
			if err != nil {
				return err
			}
			view.Refused = refused
			plan = d.judge(view)
			script := s.compose(plan)
			script.again = true
			return s.written(savepoint.SendBatch(ctx, script.statements()).Close())
		})
	}
	err := try(nil)
	if isRefusal(err) {
		err = try(map[*versioning.Record]error{r: err})
	}
	if err != nil {
		return versioning.Outcome{}, err
	}
	if len(plan.Outcomes) == 0 { // a parked record has moved the entity, whose row has to be read again
		return s.dryRun(ctx, tx, r)
	}
	return plan.Outcomes[0], nil
}
