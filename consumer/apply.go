package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// minShare is the least number of records that is worth a transaction of its own.
const minShare = 64

// errStore says that a store breaks the rules of the Store interface. Going on
// could commit offsets of records that it did not settle.
var errStore = errors.New("the store broke its contract")

// apply settles the batch: every record gets its verdict, in the database. It
// spreads the batch over several connections, by entity, and returns once all
// are done. It returns an error if the work can't go on: nothing but a change of
// configuration will help. Records without a verdict are left Undecided.
func (r *run) apply(work context.Context, b *batch) error {
	defer stopwatch(&b.took.apply)()
	todo := share{records: b.records, index: make([]int, len(b.records))}
	for i := range todo.index {
		todo.index[i] = i
	}
	for len(todo.records) > 0 {
		var err error
		if todo, err = r.applyShares(work, b, r.shares(work, todo)); err != nil {
			return r.cantGoOn(err)
		}
	}
	return nil
}

// shares splits what is to be done into shares that can be settled at the same time.
func (r *run) shares(work context.Context, todo share) []share {
	connections := min(r.cfg.Connections, len(todo.records)/minShare)
	if connections <= 1 {
		return []share{todo}
	}
	lists, index, err := r.split(work, todo.records, connections)
	if err != nil { // settle will meet the same trouble, and knows what to do
		return []share{todo}
	}
	shares := make([]share, len(lists))
	for i, list := range lists {
		for k, at := range index[i] {
			index[i][k] = todo.index[at]
		}
		shares[i] = share{list, index[i]}
	}
	return shares
}

// applyShares settles shares at the same time. It returns what is to be split again, in
// the order of the batch.
func (r *run) applyShares(work context.Context, b *batch, shares []share) (again share, err error) {
	var mu sync.Mutex // guards b.released
	var group sync.WaitGroup
	errs, left := make([]error, len(shares)), make([]share, len(shares))
	for i, todo := range shares {
		errs[i] = errGoexit // unless settle returns
		group.Go(func() {
			released, rest, err := r.settle(work, b, todo)
			errs[i], left[i] = err, rest
			mu.Lock()
			defer mu.Unlock()
			b.released = append(b.released, released...)
		})
	}
	group.Wait()
	for _, s := range left {
		again.index = append(again.index, s.index...)
	}
	slices.Sort(again.index)
	for _, i := range again.index {
		again.records = append(again.records, b.records[i])
	}
	return again, errors.Join(errs...)
}

func (r *run) cantGoOn(err error) error {
	if err != nil {
		err = fmt.Errorf("worker of group %q can't go on: %w", r.cfg.Group, err)
	}
	return err
}

// A share is the part of a batch that one goroutine settles.
type share struct {
	records []*versioning.Record
	index   []int // of each record in the batch
}

// where names the partition of the share's first record.
func (s share) where() string {
	if len(s.records) == 0 {
		return ""
	}
	at := s.records[0].Origin
	return partition{at.Topic, at.Partition}.String()
}

func (s share) from(n int) share { return share{s.records[n:], s.index[n:]} }

// settle applies a share of the batch until all of it is settled, however long
// the database is in trouble. It gives up when the work ends, and on records
// whose partition was taken away before it could begin, or while it had to wait:
// their new owner settles them. It returns what is to be split again.
func (r *run) settle(work context.Context, b *batch, todo share) (released []versioning.Settled, again share, err error) {
	retry := r.backOff()
	todo = r.stillOurs(b, todo)
	most := len(todo.records) // that are given to the store at once
	for len(todo.records) > 0 {
		some := todo.records[:min(most, fitting(todo.records))]
		result, err := r.attempt(work, some)
		if err := checkResult(result, err, len(some)); err != nil {
			return released, share{}, err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			most = max(1, len(some)/2) // it may have been too much for the time
		}
		for i, outcome := range result.Outcomes {
			b.outcomes[todo.index[i]] = outcome
		}
		todo = todo.from(len(result.Outcomes))
		if len(result.Outcomes) > 0 {
			r.vitals.wrote()
		}
		released = append(released, result.Released...)
		switch {
		case err == nil:
			r.log.troubleOver()
			continue
		case errors.Is(err, versioning.ErrServerChanged):
			r.startOver()
			return released, share{}, nil // all is read again
		case errors.Is(err, versioning.ErrSplitAgain):
			return released, todo, nil
		case versioning.CauseOf(err) == versioning.Fatal:
			return released, share{}, err
		}
		r.vitals.failedToWrite(todo.where(), err)
		wait := retry.NextBackOff()
		if work.Err() == nil {
			if err := r.tellTrouble(work, b, err, wait); err != nil {
				return released, share{}, err
			}
		}
		if !sleep(work, wait) {
			return released, share{}, nil // abandoned: it will be delivered again
		}
		todo = r.stillOurs(b, todo)
	}
	return released, share{}, nil
}

// maxApplyBytes bounds what is given to the store at once. The store's statements hold
// it in several copies.
const maxApplyBytes = 16 << 20

// fitting returns how many of the records are given to the store at once: one at least.
func fitting(records []*versioning.Record) int {
	size := 0
	for i, r := range records {
		size += len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			size += len(h.Key) + len(h.Value)
		}
		if size > maxApplyBytes && i > 0 {
			return i
		}
	}
	return len(records)
}

func (r *run) split(work context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	work, cancel := r.bounded(work)
	defer cancel()
	return r.cfg.Store.Split(work, records, n)
}

func (r *run) attempt(work context.Context, records []*versioning.Record) (versioning.Result, error) {
	work, cancel := r.bounded(work)
	defer cancel()
	return r.cfg.Store.Apply(work, r.base.server(), records)
}

// bounded returns a context for one call of the store.
func (r *run) bounded(work context.Context) (context.Context, context.CancelFunc) {
	if r.cfg.ApplyTimeout <= 0 {
		return context.WithCancel(work)
	}
	return context.WithTimeout(work, r.cfg.ApplyTimeout)
}

func checkResult(result versioning.Result, err error, records int) error {
	settled := len(result.Outcomes)
	if settled > records || settled == 0 && err == nil {
		return fmt.Errorf("%w: %d verdicts on %d records", errStore, settled, records)
	}
	for _, outcome := range result.Outcomes {
		if outcome.Verdict == versioning.Undecided {
			return fmt.Errorf("%w: a verdict that decides nothing", errStore)
		}
	}
	return nil
}

// tellTrouble tells the log and the hooks of a time of trouble, and lets rebalances
// pass. It returns an error if a hook panicked.
func (r *run) tellTrouble(work context.Context, b *batch, trouble error, wait time.Duration) error {
	b.hold.end()
	r.log.trouble(trouble, wait, r.vitals.health())
	return hooks(r.cfg.Hooks).trouble(work, trouble, wait)
}

// stillOurs returns what is left to do of a share without the records whose
// partitions were taken away since they were polled.
func (r *run) stillOurs(b *batch, todo share) share {
	gone := make(map[partition]bool)
	for _, s := range b.spans {
		if r.partitions.tenureOf(s.partition) != s.tenure {
			gone[s.partition] = true
		}
	}
	if len(gone) == 0 {
		return todo
	}
	var ours share
	for i, rec := range todo.records {
		if !gone[partition{rec.Origin.Topic, rec.Origin.Partition}] {
			ours.records = append(ours.records, rec)
			ours.index = append(ours.index, todo.index[i])
		}
	}
	return ours
}
