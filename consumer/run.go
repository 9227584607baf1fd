package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgoask"
)

// A run is one run of a worker with one Kafka client; to go back to its marks, the worker
// starts another run. The goroutine of Run polls and decodes. Without lag it also applies
// the batch; with lag a second goroutine does, one batch at a time. A third goroutine
// commits.
type run struct {
	*shared

	poller     *poller
	decoder    *decoder
	applier    *applier
	committer  *committer
	maintainer *maintainer
	watcher    *watcher
	gates      gates // shared with the client's callbacks
	stop       context.CancelFunc
}

// newRun creates a run. The run calls end if it can't continue.
func newRun(ctx context.Context, end func(error), cfg Config, vitals *vitals) (*run, error) {
	opts := cfg.clientOptions()
	unpacker := &unpacker{Decompressor: decompressorOf(opts), most: cfg.MaxUnpacked}
	r, begin := assemble(&shared{cfg: cfg, vitals: vitals, partitions: newPartitions(vitals), log: newLogger(cfg, end), end: end}, unpacker)
	// The client outlives ctx: it has to commit and to leave the group.
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	// The client calls the callbacks from goroutines that it starts before NewClient returns.
	setClient := kgoask.Hook(func(client *kgo.Client) { r.client = client })
	opts = append(opts, kgo.WithHooks(setClient), kgo.WithContext(ctx), kgo.WithDecompressor(unpacker),
		kgo.OnPartitionsAssigned(r.onAssigned), kgo.OnPartitionsRevoked(r.onRevoked),
		kgo.OnPartitionsLost(r.onLost), kgo.OnOffsetsFetched(begin.onOffsetsFetched),
		kgo.AdjustFetchOffsetsFn(begin.beginAt))
	_, err := kgo.NewClient(opts...)
	if err != nil {
		r.stop()
		return nil, fmt.Errorf("create the Kafka client: %w", err)
	}
	return r, nil
}

// assemble connects the parts of a run. Its client is set later, because it calls some of them.
func assemble(s *shared, unpacker *unpacker) (*run, *beginnings) {
	gates, base := newGates(), &base{shared: s}
	marks := &marks{shared: s, base: base}
	return &run{
		shared: s, gates: gates,
		poller:    &poller{shared: s, gates: gates, unpacker: unpacker, failing: pause{s.cfg.backOff()}},
		decoder:   &decoder{s},
		applier:   &applier{shared: s, base: base},
		committer: &committer{shared: s, marks: marks, gates: gates, due: make(chan struct{}, 1)},
		maintainer: &maintainer{
			shared: s, parked: make(chan struct{}, 1), letters: make(chan struct{}, 1),
			clock: clock{s},
		},
		watcher: &watcher{shared: s},
	}, &beginnings{shared: s, marks: marks}
}

// loop polls, decodes, applies and commits batches. With lag, it starts a goroutine for
// each batch that applies and commits it, and polls and decodes the next batch meanwhile.
// Without lag, it polls after it has applied the batch, so what arrives until then makes
// one batch.
func (r *run) loop(ctx, work context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var current current
	defer current.wait() //nolint:errcheck // an earlier error, or a panic, ends the run
	for {
		batch, err := r.poller.poll(ctx)
		if err != nil {
			return err
		}
		if err := r.decoder.decode(ctx, work, batch); err != nil {
			return err
		}
		if err := current.wait(); err != nil || ctx.Err() != nil {
			return err // Kafka delivers the decoded batch again
		}
		if r.isBehind(batch) {
			current = r.handOver(work, batch, end)
		} else if err := r.finish(work, batch); err != nil {
			return err
		}
	}
}

// isBehind reports whether at least half as many records as the batch has are waiting
// after it, in the client's buffer or on the brokers. The client sends the next fetch to
// a broker only once all of the last one was polled, so its buffer alone says too little.
func (r *run) isBehind(b *batch) bool {
	return len(b.kafka) > 0 && 2*max(b.ahead, r.client.BufferedFetchRecords()) >= int64(len(b.kafka))
}

// A current is the batch that a goroutine applies and commits. The zero value is none.
type current struct{ done chan error }

// handOver starts a goroutine that finishes a batch. The goroutine calls end if the
// worker can't continue after that.
func (r *run) handOver(work context.Context, b *batch, end func()) current {
	c := current{make(chan error, 1)}
	go func() {
		err := errGoexit
		defer func() {
			if err != nil {
				end()
			}
			c.done <- err
		}()
		err = r.finish(work, b)
	}()
	return c
}

// wait waits until the current batch is finished. It returns an error if the worker can't
// continue.
func (c *current) wait() error {
	if c.done == nil {
		return nil
	}
	err := <-c.done
	c.done = nil
	return err
}

// finish applies and commits a batch. A rebalance that takes partitions away waits for
// it, at most for Config.RebalanceHold, and not while the database is in trouble.
func (r *run) finish(work context.Context, b *batch) error {
	if len(b.records) == 0 {
		return nil
	}
	work, err := hooks(r.cfg.Hooks).batchStart(work, BatchStart{Records: b.records, Decode: b.took.decode})
	if err != nil {
		return r.cantContinue(err)
	}
	b.hold = r.gates.hold(r.cfg.RebalanceHold)
	defer b.hold.end()
	err = r.applier.apply(work, b)
	r.committer.add(b)
	r.vitals.finished()
	b.hold.end()
	return errors.Join(err, r.cantContinue(r.report(work, b)))
}

// report logs a settled batch and calls the hooks. It returns an error if a hook
// panicked.
func (r *run) report(work context.Context, b *batch) error {
	r.log.batch(b)
	r.maintainer.settled(b)
	return hooks(r.cfg.Hooks).batchEnd(work, Batch{
		Records: b.records, Outcomes: b.outcomes, Released: b.released,
		Decode: b.took.decode, Apply: b.took.apply,
	})
}
