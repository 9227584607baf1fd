package versioning

import (
	"context"
	"errors"
	"fmt"
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

// Apply decides about records, in their order, and writes all that was decided
// in one transaction: the guarded updates, new rows, history, parked records
// and dead letters. A verdict is true once Apply has returned it.
//
// Rows that were moved by someone else between reading and writing are never
// taken for duplicates: the batch is read and folded again. A record whose data
// PostgreSQL refuses is found by splitting the batch, and rejected alone. A batch
// that takes longer than statement_timeout, lock_timeout, transaction_timeout or
// idle_in_transaction_session_timeout let it is split too.
//
// An error is one of infrastructure, or a fatal one ([CauseOf] tells): the
// records from len(Result.Outcomes) on are not settled, and may be given to
// Apply again. Records must have been through Prepare.
func (s *Store) Apply(ctx context.Context, records []*Record) (Result, error) {
	if len(records) == 0 {
		return Result{}, nil
	}
	if areTooLarge(records) {
		return s.applyParts(ctx, records)
	}
	plan, err := s.transact(ctx, s.decide(records, true))
	switch {
	case err == nil:
		return Result{Outcomes: plan.Outcomes, Released: plan.Release}, nil
	case len(records) == 1 && CauseOf(err) == Data:
		return s.applyAlone(ctx, records[0])
	case len(records) == 1 || ctx.Err() != nil || !fewerMayDo(err):
		return Result{}, fmt.Errorf("apply %d records from %s: %w", len(records), records[0].Origin, err)
	}
	return s.applyParts(ctx, records)
}

// maxBatchBytes bounds the records of one transaction: a statement may carry all of
// them, and PostgreSQL takes no message of more than a gigabyte. Batches of common
// records are far smaller.
const maxBatchBytes = 64 << 20

// areTooLarge reports whether records are too large for one transaction.
func areTooLarge(records []*Record) bool {
	size := 0
	for _, r := range records {
		size += r.size()
	}
	return len(records) > 1 && size > maxBatchBytes
}

// parts is into how many a batch is split that can't be applied whole. The more
// there are, the fewer records go through another attempt that is going to fail,
// and the more transactions it takes.
const parts = 8

func (s *Store) applyParts(ctx context.Context, records []*Record) (all Result, err error) {
	size := (len(records) + parts - 1) / parts
	for done := 0; done < len(records); done += size {
		part, err := s.Apply(ctx, records[done:min(done+size, len(records))])
		all = all.and(part, records[:done])
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// fewerMayDo reports whether a part of the batch may fare better than all of it: the
// error may be that of one record, or about a limit of time. A batch that runs into
// such a limit of the role or the server would do so for ever, were it not made smaller.
func fewerMayDo(err error) bool {
	return CauseOf(err) == Data || errors.Is(err, errTooMuchParked) ||
		isCode(err, queryCanceled, lockNotAvailable, idleInTransaction, transactionTimeout)
}

// and appends the result of a later part of a batch to that of an earlier one,
// which was of the given records. Those of them that the later part released
// were parked in the meantime only: they get the verdict that they ended with.
func (r Result) and(more Result, records []*Record) Result {
	for _, s := range more.Released {
		parkedNow := false
		for i, record := range records[:len(r.Outcomes)] {
			if record.Origin == s.Record.Origin {
				r.Outcomes[i], parkedNow = s.Outcome, true
			}
		}
		if !parkedNow {
			r.Released = append(r.Released, s)
		}
	}
	r.Outcomes = append(r.Outcomes, more.Outcomes...)
	return r
}

// applyAlone settles one record that PostgreSQL refused. The refused data may
// be that of a record which is parked for the same entities: so these are judged
// first, each on its own, then the record without them, and then they are again.
func (s *Store) applyAlone(ctx context.Context, r *Record) (result Result, err error) {
	if result.Released, err = s.releaseAlone(ctx, r); err != nil {
		return Result{}, err
	}
	outcome, err := s.applyOne(ctx, r)
	if err != nil {
		return Result{}, fmt.Errorf("apply %s alone: %w", r.Origin, err)
	}
	more, err := s.releaseAlone(ctx, r)
	if err != nil {
		return Result{}, err // the record will be found to be a duplicate
	}
	result.Outcomes = []Outcome{outcome}
	return result.and(Result{Released: more}, []*Record{r}), nil
}

// applyOne settles one record, and leaves those that are parked alone. If
// PostgreSQL refuses it, it is rejected for that.
func (s *Store) applyOne(ctx context.Context, r *Record) (Outcome, error) {
	plan, err := s.transact(ctx, s.decide([]*Record{r}, false))
	if CauseOf(err) == Data {
		refused := *r
		refused.Err = &Refusal{ReasonConstraint, err}
		plan, err = s.transact(ctx, s.decide([]*Record{&refused}, false))
	}
	if err != nil {
		return Outcome{}, err
	}
	return plan.Outcomes[0], nil
}

// A decision reads what it needs in a transaction and returns what the
// transaction has to write. With lock it locks the rows that it reads.
type decision func(ctx context.Context, tx sender, lock bool) (*Plan, error)

// decide is the decision about a batch, with or without the records that are
// parked for its entities.
func (s *Store) decide(records []*Record, parked bool) decision {
	return func(ctx context.Context, tx sender, lock bool) (*Plan, error) {
		view, err := s.read(ctx, tx, records, reading{lock: lock, parked: parked, bounded: len(records) > 1})
		if err != nil {
			return nil, err
		}
		return Fold(s.rules, view, records), nil
	}
}

// transact runs one transaction: read, fold, write. Two round trips, as a rule. If
// rows were moved in between, it is rolled back and run again, with the rows locked.
// The fate locks come before those of rows, always: with the first attempt's writes,
// and at the beginning of the others, whose reading locks rows.
func (s *Store) transact(ctx context.Context, decide decision) (plan *Plan, err error) {
	locks := make(fateLocks)
	for attempt := range maxAttempts {
		err = s.inTransaction(ctx, func(tx *transaction) error {
			tx.locks = locks
			if plan, err = decide(ctx, tx, attempt > 0); err != nil {
				return err
			}
			fates := fatesOf(plan)
			held := locks.cover(fates)
			locks.add(fates)
			if attempt > 0 && !held {
				return errMoved
			}
			return tx.finish(ctx, s.writes(plan, attempt))
		})
		if !errors.Is(err, errMoved) {
			return plan, err
		}
	}
	return nil, fmt.Errorf("%w (%d attempts)", ErrContended, maxAttempts)
}
