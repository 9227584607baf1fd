package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/pawl-go/pawl/versioning"
)

// maxAttempts bounds how often a batch is read and folded again because its
// rows were moved by someone else. The first attempt takes no locks; the others
// lock the rows they read, so that only new rows can still come in between.
const maxAttempts = 5

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
// The server is the one that Marks has returned, for the records' consumer group. If the
// database is on another one, which may have lost what came before the records, Apply
// writes nothing and returns [ErrServerChanged]. Empty is any server.
//
// Records that were split, and whose tables were altered since, are not settled any
// further: the error is [ErrSplitAgain].
//
// Another error is one of infrastructure, or a fatal one ([CauseOf] tells): the
// records from len(Result.Outcomes) on are not settled, and may be given to
// Apply again. Records must have been through Prepare.
func (s *Store) Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	var all versioning.Result
	err := s.again(ctx, func(e *edition) error {
		done := len(all.Outcomes)
		if e.mustSplit(records[done:]) {
			return versioning.ErrSplitAgain
		}
		e.renew(records[done:])
		few := fewRecords
		if s.refusing.Load() {
			few = manyRecords
		}
		part, err := e.apply(ctx, on, records[done:], few)
		if done > 0 {
			part = followed(all, part, records[:done])
		}
		all = part
		return err
	})
	if n := len(all.Outcomes); n > 0 {
		s.refusing.Store(refusedOf(all.Outcomes) > n/fewRecords)
	}
	return all, withCause(err)
}

// refusedOf returns how many records PostgreSQL refused.
func refusedOf(outcomes []versioning.Outcome) (n int) {
	for i := range outcomes {
		if outcomes[i].Reason == versioning.ReasonConstraint {
			n++
		}
	}
	return n
}

// fewRecords and manyRecords bound the records whose rows are written one by one in one
// transaction, to find out which of them PostgreSQL refuses: few where that is rare, for
// all others are written as a set then, and many where one part of a batch after the
// other, or the last batch, has such records.
const (
	fewRecords  = 64
	manyRecords = 2048
)

func (s *edition) apply(ctx context.Context, on versioning.Server, records []*versioning.Record, few int) (versioning.Result, error) {
	if len(records) == 0 {
		return versioning.Result{}, nil
	}
	if areTooLarge(records) {
		return s.applyParts(ctx, on, records, few)
	}
	plan, err := s.settle(ctx, on, s.decisionOn(records), len(records) <= few)
	switch {
	case err == nil:
		return versioning.Result{Outcomes: plan.Outcomes, Released: plan.Release}, nil
	case len(records) == 1 || ctx.Err() != nil || !fewerMayDo(err):
		return versioning.Result{}, fmt.Errorf("apply %d records from %s: %w", len(records), records[0].Origin, err)
	}
	return s.applyParts(ctx, on, records, few)
}

// maxBatchBytes bounds the records of one transaction: a statement may carry all of
// them, and PostgreSQL takes no message of more than a gigabyte. Batches of common
// records are far smaller.
const maxBatchBytes = 64 << 20

// areTooLarge reports whether records are too large for one transaction.
func areTooLarge(records []*versioning.Record) bool {
	size := 0
	for _, r := range records {
		size += sizeOf(r)
	}
	return len(records) > 1 && size > maxBatchBytes
}

// parts is into how many a batch is split that can't be applied whole. The more
// there are, the fewer records go through another attempt that is going to fail,
// and the more transactions it takes.
const parts = 8

func (s *edition) applyParts(ctx context.Context, on versioning.Server, records []*versioning.Record, few int) (all versioning.Result, err error) {
	size := (len(records) + parts - 1) / parts
	for done := 0; done < len(records); done += size {
		part, err := s.apply(ctx, on, records[done:min(done+size, len(records))], few)
		all = followed(all, part, records[:done])
		if refusedOf(part.Outcomes) > 0 {
			few = manyRecords
		}
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
	return isRefusal(err) || errors.Is(err, errSerial) || errors.Is(err, errTooMuchParked) ||
		isCode(err, queryCanceled, lockNotAvailable, idleInTransaction, transactionTimeout)
}

// followed appends the result of a later part of a batch to that of an earlier one,
// which was of the given records. Those of them that the later part released
// were parked in the meantime only: they get the verdict that they ended with.
func followed(r, more versioning.Result, records []*versioning.Record) versioning.Result {
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

// A view is what was read about a batch.
type view struct {
	versioning.View

	letters map[versioning.Origin]string // the scopes of the dead letters among its records
}

// A plan is what is decided about a batch.
type plan struct {
	*versioning.Plan

	letters map[versioning.Origin]string // the scopes of the dead letters that it judges again
}

// A decision is what a transaction is about: what it reads, and what it makes of that.
type decision struct {
	read  func(ctx context.Context, tx sender, lock bool) (*view, error)
	judge func(view *view, refused map[*versioning.Record]error) *plan
}

// decisionOn is the decision about a batch.
func (s *edition) decisionOn(records []*versioning.Record) decision {
	return decision{
		read: func(ctx context.Context, tx sender, lock bool) (*view, error) {
			return s.read(ctx, tx, records, reading{lock: lock, parked: true, bounded: len(records) > 1})
		},
		judge: func(view *view, refused map[*versioning.Record]error) *plan {
			view.Refused = refused
			return &plan{versioning.Fold(s.rules, &view.View, records), view.letters}
		},
	}
}

// settle makes a decision true, on a server. If PostgreSQL refuses something, and the records are few
// enough, it finds out what by writing them one by one.
func (s *edition) settle(ctx context.Context, on versioning.Server, d decision, few bool) (*plan, error) {
	locks := make(fateLocks)
	plan, err := s.transact(ctx, on, d, locks, false)
	if few && (errors.Is(err, errSerial) || isRefusal(err)) {
		if isRefusal(err) {
			locks.exclude() // some record is going to be buried
		}
		plan, err = s.transact(ctx, on, d, locks, true)
	}
	return plan, err
}

// errSerial says that the rows of a plan are to be written one by one.
var errSerial = errors.New("constraints can't be kept for a set of rows")

// transact runs one transaction: read, fold, write. Two round trips, as a rule. If
// rows were moved in between, it is rolled back and run again, with the rows locked.
// The fate locks come before those of rows, always: with the writes where nothing is
// locked before, and otherwise at the beginning, which then has to have guessed them.
func (s *edition) transact(ctx context.Context, on versioning.Server, d decision, locks fateLocks, oneByOne bool) (decided *plan, err error) {
	for attempt := range maxAttempts {
		var moves []*versioning.Move
		var trial *trial
		err = s.inTransaction(ctx, func(tx *transaction) error {
			lock := attempt > 0 || oneByOne
			if lock {
				tx.locks = locks
			}
			view, err := d.read(ctx, tx, lock)
			if err != nil {
				return err
			}
			if on != "" && on != tx.server {
				return versioning.ErrServerChanged
			}
			judge := func(refused map[*versioning.Record]error) *plan { return d.judge(view, refused) }
			var rows writing
			if oneByOne {
				if trial, err = s.oneByOne(ctx, tx, judge); err != nil {
					return err
				}
				decided, moves = trial.plan, trial.moves
			} else {
				decided = judge(nil)
				moves = inOrder(decided.Moves)
				rows = s.arrange(moves)
			}
			fates := fatesOf(decided)
			held := locks.cover(fates)
			locks.add(fates)
			switch {
			case rows.serial:
				return errSerial
			case !lock:
				return tx.finish(ctx, s.writes(decided, moves, rows, attempt, fates))
			case !held:
				return errMoved
			}
			return tx.finish(ctx, s.writes(decided, moves, rows, attempt, nil))
		})
		if err = s.orAltered(ctx, err); !errors.Is(err, errMoved) || errors.Is(err, errAltered) {
			if err == nil {
				s.noteWritten(moves)
				trial.noteRefused()
			}
			return decided, err
		}
	}
	return nil, fmt.Errorf("%w (%d attempts)", versioning.ErrContended, maxAttempts)
}
