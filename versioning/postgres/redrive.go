package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// errDryRun rolls a dry run back.
var errDryRun = errors.New("dry run")

// Redrive gives dead letters another chance, in their order, through the same
// path as every record: decode says what each asks for, as it does for a record
// that arrives, and then they are judged against the entities as they are now.
// One that gets a better verdict is no dead letter any more; the others keep
// their place, with the new reason and one attempt more. Redriving twice does
// nothing twice.
//
// It returns the new verdicts, in order: Ignored means that the letter was gone,
// or asks for nothing any more. After an error they are those of the first
// letters, which are settled.
func (s *Store) Redrive(ctx context.Context, letters []versioning.DeadLetter, decode func(*versioning.Record) ([]versioning.Change, error)) ([]versioning.Outcome, error) {
	result, err := s.Apply(ctx, "", s.edition.Load().revived(letters, decode))
	return result.Outcomes, err
}

// DryRedrive returns the verdicts that Redrive would give, and writes nothing.
// It holds the locks of what it would write until it returns.
func (s *Store) DryRedrive(ctx context.Context, letters []versioning.DeadLetter, decode func(*versioning.Record) ([]versioning.Change, error)) (outcomes []versioning.Outcome, err error) {
	err = s.again(ctx, func(e *edition) error {
		outcomes = nil
		return pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
			for _, r := range e.revived(letters, decode) {
				outcome, err := e.tryOut(ctx, tx, r)
				if err != nil {
					return fmt.Errorf("try to redrive %s: %w", r.Origin, err)
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

// revived makes records of dead letters, ready for Apply.
func (s *edition) revived(letters []versioning.DeadLetter, decode func(*versioning.Record) ([]versioning.Change, error)) []*versioning.Record {
	records := make([]*versioning.Record, len(letters))
	for i, l := range letters {
		r := *l.Record
		r.Redrive = true
		r.Decode(decode)
		s.ready(&r)
		records[i] = &r
	}
	return records
}

// tryOut applies a record in a transaction that will be rolled back.
func (s *edition) tryOut(ctx context.Context, tx pgx.Tx, r *versioning.Record) (versioning.Outcome, error) {
	d := s.decisionOn([]*versioning.Record{r})
	var plan *plan
	try := func(refused map[*versioning.Record]error) error {
		return pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
			view, err := d.read(ctx, savepoint, true)
			if err != nil {
				return err
			}
			plan = d.judge(view, refused)
			moves := inOrder(plan.Moves)
			return s.written(savepoint.SendBatch(ctx, s.writes(plan, moves, s.arrange(moves), 1, nil)).Close())
		})
	}
	err := try(nil)
	if isRefusal(err) {
		err = try(map[*versioning.Record]error{r: err})
	}
	if err != nil {
		return versioning.Outcome{}, err
	}
	return plan.Outcomes[0], nil
}
