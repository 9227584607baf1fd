package consumer

import (
	"context"
	"errors"
	"fmt"
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
	connections := min(r.cfg.Connections, len(b.records)/minShare)
	if connections <= 1 {
		return r.applyWhole(work, b)
	}
	lists, index, err := r.split(work, b.records, connections)
	if err != nil { // settle will meet the same trouble, and knows what to do
		return r.applyWhole(work, b)
	}
	var mu sync.Mutex // guards b.released
	var group sync.WaitGroup
	errs := make([]error, len(lists))
	for i, list := range lists {
		errs[i] = errGoexit // unless settle returns
		group.Go(func() {
			released, err := r.settle(work, b, share{list, index[i]})
			errs[i] = err
			mu.Lock()
			defer mu.Unlock()
			b.released = append(b.released, released...)
		})
	}
	group.Wait()
	return r.cantGoOn(errors.Join(errs...))
}

// applyWhole settles a batch on one connection.
func (r *run) applyWhole(work context.Context, b *batch) (err error) {
	whole := share{records: b.records, index: make([]int, len(b.records))}
	for i := range whole.index {
		whole.index[i] = i
	}
	b.released, err = r.settle(work, b, whole)
	return r.cantGoOn(err)
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
// their new owner settles them.
func (r *run) settle(work context.Context, b *batch, todo share) (released []versioning.Settled, err error) {
	retry := r.backOff()
	todo = r.stillOurs(b, todo)
	most := len(todo.records) // that are given to the store at once
	for len(todo.records) > 0 {
		some := todo.records[:min(most, fitting(todo.records))]
		result, err := r.attempt(work, some)
		if err := checkResult(result, err, len(some)); err != nil {
			return released, err
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
			return released, nil // all is read again
		case versioning.CauseOf(err) == versioning.Fatal:
			return released, err
		}
		r.vitals.failedToWrite(todo.where(), err)
		wait := retry.NextBackOff()
		if work.Err() == nil {
			if err := r.tellTrouble(b, err, wait); err != nil {
				return released, err
			}
		}
		if !sleep(work, wait) {
			return released, nil // abandoned: it will be delivered again
		}
		todo = r.stillOurs(b, todo)
	}
	return released, nil
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
func (r *run) tellTrouble(b *batch, trouble error, wait time.Duration) error {
	b.hold.end()
	r.log.trouble(trouble, wait, r.vitals.health())
	for i, hook := range r.cfg.Hooks {
		if h, ok := hook.(TroubleHook); ok {
			if err := protect(fmt.Sprintf("Hooks[%d].OnTrouble", i), func() { h.OnTrouble(trouble, wait) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// stillOurs returns what is left to do of a share without the records whose
// partitions were taken away since they were polled.
func (r *run) stillOurs(b *batch, todo share) share {
	gone := make(map[partition]bool)
	for _, s := range b.spans {
		if r.owned.of(s.partition) != s.tenure {
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
