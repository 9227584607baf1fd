package replay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/pawl-go/pawl/versioning"
)

// A target judges records.
type target interface {
	Prepare(*versioning.Record)
	Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error)
	Apply(context.Context, versioning.Server, []*versioning.Record) (versioning.Result, error)
}

// A run reads the ranges and passes the records to a target.
type run struct {
	*Config

	*state

	to     target
	keeper keeper

	limiter *rate.Limiter // nil: no limit
	meter   *meter
	saved   time.Time // when the state was saved last
}

// minShare is the smallest number of records that is worth a separate transaction.
const minShare = 64

// saveEvery is the time between two writes of the state.
const saveEvery = time.Second

// newState returns the state of a replay that begins now.
func (c *Config) newState(ctx context.Context, kind string) (*state, error) {
	client, err := kgo.NewClient(c.Client...)
	if err != nil {
		return nil, fmt.Errorf("%w: Client: %w", ErrConfig, err)
	}
	defer client.Close()
	ranges, caveats, err := c.findRanges(ctx, kadm.NewClient(client))
	if err != nil {
		return nil, err
	}
	return &state{
		ID: rand.Text(), Topics: c.Topics, From: c.From, Group: c.Group, Machines: c.machines(), Columns: make(map[string][]string), Clean: true,
		Report: Report{Kind: kind, Began: time.Now(), Ranges: ranges, Caveats: caveats},
	}, nil
}

// resume returns the kept state, or a new one.
func (c *Config) resume(ctx context.Context, kind string, k keeper) (*state, error) {
	s, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if err := s.isOf(c, kind); err != nil {
			return nil, err
		}
		if s.Clean {
			c.Logger.Info("replay goes on", "records", s.Report.Records)
			return s, nil
		}
	}
	return c.newState(ctx, kind)
}

// all reads everything that is left. It keeps the state as it goes.
func (r *run) all(ctx context.Context) error {
	if !r.left() {
		return nil
	}
	if r.PerSecond > 0 {
		r.limiter = rate.NewLimiter(rate.Limit(r.PerSecond), r.MaxBatch)
	}
	client, err := r.open(r.Report.Ranges)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan *batch, 1) // one is decoded while another is applied
	var reading sync.WaitGroup
	var readErr error
	reader := newReader(r.Config, client, r.Report.Ranges, r.to.Prepare)
	reading.Go(func() {
		defer close(batches)
		readErr = reader.run(ctx, batches)
	})
	done, _ := progressOf(r.Report.Ranges)
	r.meter = r.newMeter(stepRead, done)
	for b := range batches {
		if err = r.settle(ctx, b); err != nil {
			cancel()
			for range batches { // the reader may be sending
			}
			break
		}
	}
	reading.Wait()
	if err == nil {
		err = readErr
	}
	if err == nil {
		return r.save(ctx)
	}
	// What was settled counts, even if the rest was given up.
	return errors.Join(err, r.keeper.save(context.WithoutCancel(ctx), r.state))
}

// settle passes a batch to the target and notes what has become of it.
func (r *run) settle(ctx context.Context, b *batch) error {
	if r.limiter != nil && len(b.records) > 0 {
		if err := r.limiter.WaitN(ctx, len(b.records)); err != nil {
			return fmt.Errorf("wait for the next batch: %w", err)
		}
	}
	outcomes, released, err := r.apply(ctx, b.records)
	if err != nil {
		return err
	}
	good := versioning.Applied
	if r.Report.Kind == kindDryRun {
		good = versioning.Duplicate
	}
	for i, o := range outcomes {
		r.noteSeveral(b.records[i])
		count(&r.Report.Verdicts, r.Samples, good, b.records[i], o)
		r.noteColumns(b.records[i], o)
	}
	for _, s := range released {
		count(&r.Report.Released, r.Samples, good, s.Record, s.Outcome)
		r.noteColumns(s.Record, s.Outcome)
	}
	r.Report.Records += int64(len(b.records))
	for i := range r.Report.Ranges {
		x := &r.Report.Ranges[i]
		if next, ok := b.next[partition{x.Topic, x.Partition}]; ok {
			x.Next = next
		}
	}
	if k, ok := r.keeper.(*rehearsedFile); ok {
		k.settled(r.state)
	}
	r.meter.show(progressOf(r.Report.Ranges))
	if time.Since(r.saved) < saveEvery {
		return nil
	}
	r.saved = time.Now()
	return r.save(ctx)
}

// save keeps the state.
func (r *run) save(ctx context.Context) error {
	return r.retry(ctx, func() error { return r.keeper.save(ctx, r.state) })
}

// noteSeveral notes whether a record changes several entities.
func (r *run) noteSeveral(rec *versioning.Record) {
	for i := range rec.Changes {
		r.Several = r.Several || rec.Entity(i) != rec.Entity(0)
	}
}

// noteColumns notes the columns that a record has set, or may set when it is released. A
// duplicate counts, because this replay may have applied it before it was interrupted.
func (r *run) noteColumns(rec *versioning.Record, o versioning.Outcome) {
	if o.Verdict != versioning.Applied && o.Verdict != versioning.Early && o.Verdict != versioning.Duplicate {
		return
	}
	if r.Columns == nil { // a state without columns was kept
		r.Columns = make(map[string][]string)
	}
	for i := range rec.Changes {
		c := &rec.Changes[i]
		for name := range c.Set {
			if known := r.Columns[c.Machine]; !slices.Contains(known, name) {
				r.Columns[c.Machine] = append(known, name)
			}
		}
	}
}

// apply passes records to the target, by several connections.
func (r *run) apply(ctx context.Context, records []*versioning.Record) (outcomes []versioning.Outcome, released []versioning.Settled, err error) {
	outcomes = make([]versioning.Outcome, len(records))
	todo := make([]int, len(records))
	for i := range todo {
		todo[i] = i
	}
	for len(todo) > 0 {
		some := make([]*versioning.Record, len(todo))
		for i, at := range todo {
			some[i] = records[at]
		}
		lists, index, err := r.split(ctx, some)
		if err != nil {
			return nil, nil, err
		}
		var mu sync.Mutex // guards again, released and failed
		var again []int
		var failed error
		var group sync.WaitGroup
		for n, list := range lists {
			group.Go(func() {
				done, more, err := r.applyList(ctx, list)
				mu.Lock()
				defer mu.Unlock()
				for i, o := range done {
					outcomes[todo[index[n][i]]] = o
				}
				released = append(released, more...)
				if errors.Is(err, versioning.ErrSplitAgain) {
					for _, i := range index[n][len(done):] {
						again = append(again, todo[i])
					}
				} else {
					failed = errors.Join(failed, err)
				}
			})
		}
		group.Wait()
		if failed != nil {
			return nil, nil, failed
		}
		slices.Sort(again)
		todo = again
	}
	return outcomes, released, nil
}

func (r *run) split(ctx context.Context, records []*versioning.Record) (lists [][]*versioning.Record, index [][]int, err error) {
	n := max(1, min(r.Connections, len(records)/minShare))
	err = r.retry(ctx, func() error {
		lists, index, err = r.to.Split(ctx, records, n)
		return err
	})
	return lists, index, err
}

// maxApplyBytes limits the bytes of records in one call of the target.
const maxApplyBytes = 16 << 20

// applyList applies records that belong together.
func (r *run) applyList(ctx context.Context, list []*versioning.Record) (outcomes []versioning.Outcome, released []versioning.Settled, err error) {
	for len(outcomes) < len(list) && err == nil {
		err = r.retry(ctx, func() error {
			result, err := r.to.Apply(ctx, r.Server, fitting(list[len(outcomes):]))
			outcomes, released = append(outcomes, result.Outcomes...), append(released, result.Released...)
			return err
		})
	}
	return outcomes, released, err
}

// fitting returns the first records that fit into one call: at least one.
func fitting(records []*versioning.Record) []*versioning.Record {
	size := 0
	for i, rec := range records {
		if size += rec.Size(); size > maxApplyBytes && i > 0 {
			return records[:i]
		}
	}
	return records
}
