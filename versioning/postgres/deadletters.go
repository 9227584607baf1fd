package postgres

import (
	"github.com/pawl-go/pawl/versioning"

	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A DeadLetterFilter chooses dead letters. Its zero value chooses all; fields that are
// set must all match.
type DeadLetterFilter struct {
	IDs     []int64
	Reason  versioning.Reason
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // died at this time or later
	To      time.Time // died before this time

	// After leaves out dead letters with this ID and lower ones, and Limit limits how
	// many are returned: the pages of a long list. Limit 0 means 100.
	After int64
	Limit int
}

// A ParkedFilter chooses parked records. Its zero value chooses all; fields that are set
// must all match.
type ParkedFilter struct {
	Reason  versioning.Reason
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // parked at this time or later
	To      time.Time // parked before this time

	// Limit limits how many records are returned. 0 means 100.
	Limit int
}

const defaultLimit = 100

// errDryRun rolls a dry run back.
var errDryRun = errors.New("dry run")

// limitOr returns the limit of a filter, or that of its zero value.
func limitOr(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return limit
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// DeadLetters returns the dead letters that match, by rising ID.
func (s *Store) DeadLetters(ctx context.Context, f DeadLetterFilter) ([]versioning.DeadLetter, error) {
	rows, err := s.pool.Query(ctx, s.schema.sql(listDeadSQL), alone, f.IDs, string(f.Reason), f.Machine, f.Key, f.Topic,
		orNil(f.From), orNil(f.To), f.After, limitOr(f.Limit))
	if err != nil {
		return nil, withCause(fmt.Errorf("list dead letters: %w", err))
	}
	letters, err := collectDeadLetters(rows)
	if err != nil {
		return nil, withCause(fmt.Errorf("list dead letters: %w", err))
	}
	return letters, nil
}

func collectDeadLetters(rows pgx.Rows) ([]versioning.DeadLetter, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (versioning.DeadLetter, error) {
		l := versioning.DeadLetter{Record: &versioning.Record{}}
		r := l.Record
		var headers []byte
		var scope, verdict string
		err := row.Scan(&l.ID, &r.Origin.Topic, &r.Origin.TopicID, &r.Origin.Partition, &r.Origin.Offset,
			&scope, &verdict, &l.Outcome.Reason, &l.Outcome.Detail, &l.Outcome.Entity.Machine, &l.Outcome.Entity.Key,
			&l.Outcome.Event, &l.Attempts, &l.DiedAt, &r.Key, &r.Value, &headers, &r.Timestamp)
		if err != nil {
			return l, err
		}
		keptAs(r, scope)
		l.Outcome.Verdict = versioning.ParseVerdict(verdict)
		r.Headers, err = decodeHeaders(headers)
		return l, err
	})
}

// Parked returns the parked records that match, in the order in which they were
// parked.
func (s *Store) Parked(ctx context.Context, f ParkedFilter) ([]versioning.ParkedRecord, error) {
	rows, err := s.pool.Query(ctx, s.schema.sql(listParkedSQL), alone, string(f.Reason), f.Machine, f.Key, f.Topic,
		orNil(f.From), orNil(f.To), limitOr(f.Limit))
	if err != nil {
		return nil, withCause(fmt.Errorf("list parked records: %w", err))
	}
	parked, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (versioning.ParkedRecord, error) {
		var at time.Time
		p, err := s.edition.Load().scanParked(row, &at)
		return versioning.ParkedRecord{Parked: p.Parked, ParkedAt: at}, err
	})
	if err != nil {
		return nil, withCause(fmt.Errorf("list parked records: %w", err))
	}
	return parked, nil
}

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
		r.Changes, r.Err = decode(&r)
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
