package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// Apply judges records in their order and writes the result in one transaction:
// guarded updates, new rows, history, parked records and dead letters. A verdict is
// true once Apply has returned it.
//
// If another writer moves rows between reading and writing, Apply never takes that for
// a duplicate: it reads the rows again and judges the batch again. If PostgreSQL refuses
// the data of a record, Apply splits the batch to find that record, and rejects it alone.
// It also splits a batch that takes longer than statement_timeout, lock_timeout,
// transaction_timeout or idle_in_transaction_session_timeout allow.
//
// The server is the one that Marks returned for the records' consumer group. If the
// database is on another server, which may have lost what came before the records,
// Apply writes nothing and returns [ErrServerChanged]. An empty server means any
// server.
//
// If the records were split and their tables have been altered since, Apply settles no
// more of them and returns [ErrSplitAgain].
//
// Any other error has the cause Infrastructure or Fatal; see [CauseOf]. The records
// from len(Result.Outcomes) on are then not settled, and may be passed to Apply again.
// Records must be prepared.
func (s *Store) Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	return s.apply(ctx, on, records, true)
}

// apply is Apply. If the records are not of a topic, they say nothing about the batches of
// workers.
func (s *Store) apply(ctx context.Context, on versioning.Server, records []*versioning.Record, ofTopic bool) (versioning.Result, error) {
	var all versioning.Result
	err := s.retryAltered(ctx, func(e *snapshot) error {
		done := len(all.Outcomes)
		if e.mustSplit(records[done:]) {
			return versioning.ErrSplitAgain
		}
		e.reprepare(records[done:])
		few := fewRecords
		if s.refusing.Load() && ofTopic {
			few = manyRecords
		}
		part, err := e.apply(ctx, on, records[done:], few)
		if done > 0 {
			part = appendResult(all, part, records[:done])
		}
		all = part
		return err
	})
	if n := len(all.Outcomes); n > 0 && ofTopic {
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

// fewRecords and manyRecords limit how many records a transaction writes one by one to
// find those that PostgreSQL refuses. The limit is low if refusals are rare, because
// then all other records can be written as a set. It is high if several parts of a
// batch, or the last batch, had such records: then it is above a connection's share of a
// full batch.
const (
	fewRecords  = 64
	manyRecords = 4096
)

// apply settles records. Usually one transaction settles all of them. If rows have to be
// read back in between, a transaction settles only the records before that, and has read
// the rows of the others in vain. So the next one gets fewer records, down to twice as many
// as this one has settled, and more again once one settles all that it got.
func (s *snapshot) apply(ctx context.Context, on versioning.Server, records []*versioning.Record, few int) (all versioning.Result, err error) {
	size := len(records)
	for done := 0; done < len(records) && err == nil; done = len(all.Outcomes) {
		some := records[done:min(done+size, len(records))]
		var part versioning.Result
		part, err = s.applyFirst(ctx, on, some, few)
		all = appendResult(all, part, records[:done])
		size *= 2
		if settled := len(part.Outcomes); settled < len(some) {
			size = max(2*settled, len(some)/2, minReadBack)
		}
	}
	return all, err
}

// minReadBack is the smallest number of records that a transaction gets after one that
// has settled only some of its records.
const minReadBack = 8

// applyFirst settles records up to the first one whose rows have to be read back before
// it can be judged: usually all of them.
func (s *snapshot) applyFirst(ctx context.Context, on versioning.Server, records []*versioning.Record, few int) (versioning.Result, error) {
	if areTooLarge(records) {
		return s.applyParts(ctx, on, records, few)
	}
	d := s.decisionOn(records)
	d.recall = true
	plan, err := s.settle(ctx, on, d, len(records) <= few)
	switch {
	case err == nil:
		result := versioning.Result{Outcomes: plan.Outcomes, Released: plan.Release}
		for _, p := range plan.Park {
			own(p.Record).parked = true
		}
		more, err := s.refoldAll(ctx, on, plan.Again)
		return appendResult(result, more, records[:len(plan.Outcomes)]), err
	case len(records) == 1 || ctx.Err() != nil || !splitMayHelp(err) && !s.isSelfContended(err):
		return versioning.Result{}, fmt.Errorf("apply %d records from %s: %w", len(records), records[0].Origin, err)
	}
	return s.applyParts(ctx, on, records, few)
}

// refoldAll judges the records parked for entities whose rows have to be read back first.
func (s *snapshot) refoldAll(ctx context.Context, on versioning.Server, entities []versioning.Entity) (result versioning.Result, err error) {
	for _, e := range entities {
		released, err := s.refold(ctx, on, e)
		result.Released = append(result.Released, released...)
		if err != nil {
			return result, err
		}
	}
	return result, nil
}

// maxBatchBytes limits the records of one transaction. One statement may carry all of
// them, and PostgreSQL accepts no message above a gigabyte. Batches of ordinary records
// are far smaller.
const maxBatchBytes = 64 << 20

// areTooLarge reports whether records are too large for one transaction.
func areTooLarge(records []*versioning.Record) bool {
	size := 0
	for _, r := range records {
		size += sizeOf(r)
	}
	return len(records) > 1 && size > maxBatchBytes
}

// parts is the number of parts into which a failed batch is split. With more parts,
// fewer records take part in another attempt that fails, but there are more
// transactions.
const parts = 8

func (s *snapshot) applyParts(ctx context.Context, on versioning.Server, records []*versioning.Record, few int) (all versioning.Result, err error) {
	size := (len(records) + parts - 1) / parts
	for done := 0; done < len(records); done += size {
		part, err := s.apply(ctx, on, records[done:min(done+size, len(records))], few)
		all = appendResult(all, part, records[:done])
		if refusedOf(part.Outcomes) > 0 {
			few = manyRecords
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// splitMayHelp reports whether a part of the batch may succeed where all of it failed:
// the error may be about one record, or about a timeout. A batch that exceeds a timeout
// of the role or the server would do so forever if it were not split.
func splitMayHelp(err error) bool {
	return isRefusal(err) || errors.Is(err, errSerial) || errors.Is(err, errTooMuchParked) ||
		isCode(err, queryCanceled, lockNotAvailable, idleInTransaction, transactionTimeout)
}

// isSelfContended reports whether rows may have been moved by the transaction itself: by a
// trigger of one entity's row that writes another one's, with which functions have computed, or by
// a foreign key that cascades.
func (s *snapshot) isSelfContended(err error) bool {
	cascades := func(t *table) bool {
		return slices.ContainsFunc(t.rules.foreign, func(f foreignKey) bool { return f.cascades && f.parent != nil })
	}
	return errors.Is(err, versioning.ErrContended) && (s.hasTriggers() || slices.ContainsFunc(s.tables, cascades)) &&
		slices.ContainsFunc(s.tables, func(t *table) bool { return t.rows.hasFields() })
}

// hasTriggers reports whether a table has triggers, which may write rows of another one.
func (s *snapshot) hasTriggers() bool {
	return slices.ContainsFunc(s.tables, func(t *table) bool { return len(t.rules.triggers) > 0 })
}

// appendResult appends the result of a later part of a batch to that of the earlier
// parts, which had the given records. If the later part released a record that an
// earlier part had parked, the record gets its final verdict.
func appendResult(r, more versioning.Result, records []*versioning.Record) versioning.Result {
	if len(records) == 0 && len(r.Released) == 0 {
		return more
	}
	for _, s := range more.Released {
		parkedNow := false
		for i, record := range records[:len(r.Outcomes)] {
			if record.Origin == s.Record.Origin {
				r.Outcomes[i] = s.Outcome
				parkedNow = parkedNow || preparedOf(record).parked // otherwise it was delivered again
			}
		}
		if !parkedNow {
			r.Released = append(r.Released, s)
		}
	}
	r.Outcomes = append(r.Outcomes, more.Outcomes...)
	return r
}
