package versioning

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Result is what became of a batch.
type Result struct {
	// Outcomes holds the verdicts on the records, in their order. After an
	// error it holds those that are settled in the database: the verdicts of
	// the first len(Outcomes) records.
	Outcomes []Outcome

	// Released holds the records parked before this batch that got their last
	// verdict by it.
	Released []Settled
}

// maxAttempts bounds how often a batch is read and folded again because its
// rows were moved by someone else. The first attempt takes no locks; the others
// lock the rows they read, so that only new rows can still come in between.
const maxAttempts = 5

// ErrContended says that the rows of a batch were moved by someone else on
// every attempt, or that something in the database, such as a trigger that
// drops writes, keeps them from moving. Nothing was written; try again.
var ErrContended = errors.New("rows keep being moved by someone else")

// errMoved says that a guarded write found fewer rows than it had to.
var errMoved = errors.New("a row was moved by someone else")

// Apply decides about records, in their order, and writes all that was decided
// in one transaction: the guarded updates, new rows, history, parked records
// and dead letters. A verdict is true once Apply has returned it.
//
// Rows that were moved by someone else between reading and writing are never
// taken for duplicates: the batch is read and folded again. A record whose data
// PostgreSQL refuses is found by splitting the batch, and rejected alone.
//
// An error is one of infrastructure, or a fatal one ([CauseOf] tells): the
// records from len(Result.Outcomes) on are not settled, and may be given to
// Apply again. Records must have been through Prepare.
func (s *Store) Apply(ctx context.Context, records []*Record) (Result, error) {
	if len(records) == 0 {
		return Result{}, nil
	}
	plan, err := s.transact(ctx, records, true)
	switch {
	case err == nil:
		return Result{Outcomes: plan.Outcomes, Released: plan.Release}, nil
	case CauseOf(err) != Data:
		return Result{}, fmt.Errorf("apply %d records from %s: %w", len(records), records[0].Origin, err)
	case len(records) == 1:
		return s.applyAlone(ctx, records[0], err)
	}
	half := len(records) / 2
	first, err := s.Apply(ctx, records[:half])
	if err != nil {
		return first, err
	}
	second, err := s.Apply(ctx, records[half:])
	return first.and(second), err
}

func (r Result) and(more Result) Result {
	r.Outcomes = append(r.Outcomes, more.Outcomes...)
	r.Released = append(r.Released, more.Released...)
	return r
}

// applyAlone settles one record that PostgreSQL refused. The refused data may
// be that of a parked record which this one would have freed: so the record is
// tried without them first, and then they are, each on its own.
func (s *Store) applyAlone(ctx context.Context, r *Record, refused error) (Result, error) {
	plan, err := s.transact(ctx, []*Record{r}, false)
	if CauseOf(err) == Data {
		r.Err = &Refusal{ReasonConstraint, refused}
		plan, err = s.transact(ctx, []*Record{r}, false)
	}
	if err != nil {
		return Result{}, fmt.Errorf("apply %s alone: %w", r.Origin, err)
	}
	result := Result{Outcomes: plan.Outcomes}
	if plan.Outcomes[0].Verdict == Applied {
		result.Released, err = s.releaseAlone(ctx, r)
	}
	return result, err
}

// transact runs one transaction: read, fold, write. If rows were moved in
// between, it is rolled back and run again, with the rows locked.
func (s *Store) transact(ctx context.Context, records []*Record, wake bool) (plan *Plan, err error) {
	for attempt := range maxAttempts {
		err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			view, err := s.read(ctx, tx, records, reading{lock: attempt > 0, parked: wake})
			if err != nil {
				return err
			}
			plan = Fold(s.rules, view, records)
			return s.write(ctx, tx, plan)
		})
		if !errors.Is(err, errMoved) {
			return plan, err
		}
	}
	return nil, fmt.Errorf("%w (%d attempts)", ErrContended, maxAttempts)
}
