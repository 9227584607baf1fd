package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// minShare is the smallest number of records that is worth a separate transaction.
const minShare = 64

// errStore reports that a store violates the rules of the Store interface. If the worker
// continued, it could commit offsets of records that the store did not settle.
var errStore = errors.New("the store violates the contract of consumer.Store")

// An applier settles batches in the store.
type applier struct {
	*shared

	base *base
}

// apply settles the batch: it gives every record its verdict, in the database. It splits
// the batch by entity over several connections, and returns once all are done. It returns
// an error if retrying cannot help. Records that it gave up stay Undecided.
func (a *applier) apply(work context.Context, b *batch) error {
	defer stopwatch(&b.took.apply)()
	todo := share{records: b.records, index: make([]int, len(b.records))}
	for i := range todo.index {
		todo.index[i] = i
	}
	for len(todo.records) > 0 {
		var err error
		if todo, err = a.applyShares(work, b, a.shares(work, todo)); err != nil {
			return a.cantContinue(err)
		}
	}
	return nil
}

// shares splits todo into shares that can be settled concurrently.
func (a *applier) shares(work context.Context, todo share) []share {
	connections := min(a.cfg.Connections, len(todo.records)/minShare)
	if connections <= 1 {
		return []share{todo}
	}
	lists, index, err := a.split(work, todo.records, connections)
	if err != nil { // settle will get the same error and handle it
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

// applyShares settles shares concurrently. It returns the records that must be split again,
// in the order of the batch.
func (a *applier) applyShares(work context.Context, b *batch, shares []share) (again share, err error) {
	var mu sync.Mutex // guards b.released
	var group sync.WaitGroup
	errs, left := make([]error, len(shares)), make([]share, len(shares))
	for i, todo := range shares {
		errs[i] = errGoexit // stays if the goroutine ends before settle returns
		group.Go(func() {
			released, rest, err := a.settle(work, b, todo)
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

// A share is the part of a batch that one goroutine settles.
type share struct {
	records []*versioning.Record
	index   []int // of each record in the batch
}

// where returns the name of the partition of the share's first record.
func (s share) where() string {
	if len(s.records) == 0 {
		return ""
	}
	at := s.records[0].Origin
	return partition{at.Topic, at.Partition}.String()
}

func (s share) from(n int) share { return share{s.records[n:], s.index[n:]} }

// settle applies a share of the batch until all of it is settled, however long the database
// is in trouble. It gives up when work is canceled. It gives up records whose partition was
// taken away before it began or while it waited to retry: the new owner settles them. It
// returns the records that must be split again.
func (a *applier) settle(work context.Context, b *batch, todo share) (released []versioning.Settled, again share, err error) {
	retry := a.cfg.backOff()
	todo = a.stillOwned(b, todo)
	most := len(todo.records) // passed to one call of the store
	for len(todo.records) > 0 {
		some := todo.records[:min(most, fitting(todo.records))]
		result, err := a.attempt(work, some)
		if err := checkResult(result, err, len(some)); err != nil {
			return released, share{}, err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			most = max(1, len(some)/2) // it may have been too much for ApplyTimeout
		}
		for i, outcome := range result.Outcomes {
			b.outcomes[todo.index[i]] = outcome
		}
		todo = todo.from(len(result.Outcomes))
		if len(result.Outcomes) > 0 {
			a.vitals.wrote()
		}
		released = append(released, result.Released...)
		switch {
		case err == nil:
			a.log.troubleOver()
			continue
		case errors.Is(err, versioning.ErrServerChanged):
			a.base.startOver()
			return released, share{}, nil // the next run reads the records again
		case errors.Is(err, versioning.ErrSplitAgain):
			return released, todo, nil
		case errors.Is(err, versioning.ErrFatal):
			return released, share{}, err
		}
		a.vitals.failedToWrite(todo.where(), err)
		wait := retry.NextBackOff()
		if work.Err() == nil {
			if err := a.reportTrouble(work, b, err, wait); err != nil {
				return released, share{}, err
			}
		}
		if !pace.Sleep(work, wait) {
			return released, share{}, nil // given up: Kafka delivers the records again
		}
		todo = a.stillOwned(b, todo)
	}
	return released, share{}, nil
}

// maxApplyBytes limits the bytes of records that one call of the store gets, because the
// store's statements hold several copies of them.
const maxApplyBytes = 16 << 20

// fitting returns how many of the records fit into one call of the store: at least one.
func fitting(records []*versioning.Record) int {
	size := 0
	for i, r := range records {
		size += r.Size()
		if size > maxApplyBytes && i > 0 {
			return i
		}
	}
	return len(records)
}

func (a *applier) split(work context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	work, cancel := a.withTimeout(work)
	defer cancel()
	return a.cfg.Store.Split(work, records, n)
}

func (a *applier) attempt(work context.Context, records []*versioning.Record) (versioning.Result, error) {
	work, cancel := a.withTimeout(work)
	defer cancel()
	return a.cfg.Store.Apply(work, a.base.server(), records)
}

// withTimeout returns a context for one call of the store, limited by Config.ApplyTimeout.
func (a *applier) withTimeout(work context.Context) (context.Context, context.CancelFunc) {
	if a.cfg.ApplyTimeout <= 0 {
		return context.WithCancel(work)
	}
	return context.WithTimeout(work, a.cfg.ApplyTimeout)
}

func checkResult(result versioning.Result, err error, records int) error {
	settled := len(result.Outcomes)
	if settled > records || settled == 0 && err == nil {
		return fmt.Errorf("%w: Apply returned %d outcomes for %d records", errStore, settled, records)
	}
	for _, outcome := range result.Outcomes {
		if outcome.Verdict == versioning.Undecided {
			return fmt.Errorf("%w: Apply returned the verdict Undecided", errStore)
		}
	}
	return nil
}

// reportTrouble logs trouble, calls the hooks, and lets rebalances proceed. It returns an
// error if a hook panicked.
func (a *applier) reportTrouble(work context.Context, b *batch, trouble error, wait time.Duration) error {
	b.hold.end()
	a.log.trouble(trouble, wait, a.vitals.health())
	return hooks(a.cfg.Hooks).trouble(work, trouble, wait)
}

// stillOwned returns the share without the records whose partitions were taken away since
// they were polled.
func (a *applier) stillOwned(b *batch, todo share) share {
	gone := make(map[partition]bool)
	for _, s := range b.spans {
		if a.partitions.tenureOf(s.partition) != s.tenure {
			gone[s.partition] = true
		}
	}
	if len(gone) == 0 {
		return todo
	}
	var owned share
	for i, rec := range todo.records {
		if !gone[partition{rec.Origin.Topic, rec.Origin.Partition}] {
			owned.records = append(owned.records, rec)
			owned.index = append(owned.index, todo.index[i])
		}
	}
	return owned
}
