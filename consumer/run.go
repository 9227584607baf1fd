package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A run is one run of a worker. The goroutine of Run polls and decodes, and without
// lag applies; with lag another one does that, for one batch at a time. A third one
// commits. Fields belong to the first, but for those that say otherwise.
type run struct {
	cfg        Config
	vitals     *vitals     // the worker's; safe for concurrent use
	partitions *partitions // safe for concurrent use
	log        *logger     // safe for concurrent use
	client     *kgo.Client // safe for concurrent use
	stop       context.CancelFunc
	end        func(error)   // ends the run for an error
	base       base          // safe for concurrent use
	gates      gates         // shared with the client's callbacks
	unpacker   *unpacker     // shared with the client
	due        chan struct{} // holds one if there are offsets to commit
	letters    chan struct{} // holds one if there are dead letters to copy
	parked     chan struct{} // holds one if a batch has parked records
	failing    pause         // fetches that bring nothing but errors

	fetched offsets // belongs to the client's callbacks
}

// newRun makes a run, which ends by the function end if it can't go on.
func newRun(ctx context.Context, end func(error), cfg Config, vitals *vitals) (*run, error) {
	r := &run{
		cfg: cfg, vitals: vitals, partitions: vitals.partitions, log: newLogger(cfg, end), end: end, gates: newGates(),
		due: make(chan struct{}, 1), letters: make(chan struct{}, 1), parked: make(chan struct{}, 1),
	}
	r.failing.retry = r.backOff()
	// The client outlives ctx: it has to commit and to leave the group.
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	opts := cfg.clientOptions()
	r.unpacker = &unpacker{Decompressor: decompressorOf(opts), most: cfg.MaxUnpacked}
	opts = append(opts, kgo.WithContext(ctx), kgo.WithDecompressor(r.unpacker),
		kgo.OnPartitionsAssigned(r.onAssigned), kgo.OnPartitionsRevoked(r.onRevoked),
		kgo.OnPartitionsLost(r.onLost), kgo.OnOffsetsFetched(r.onOffsetsFetched),
		kgo.AdjustFetchOffsetsFn(r.beginAt))
	var err error
	if r.client, err = kgo.NewClient(opts...); err != nil {
		r.stop()
		return nil, fmt.Errorf("make the Kafka client: %w", err)
	}
	return r, nil
}

// loop is the way of a record: poll, decode, fold and apply, commit. With lag, the
// last two are handed over to a goroutine, one for each batch, and the next batch is
// polled and decoded meanwhile. Without, it is polled after that: what arrives until
// then makes one batch.
func (r *run) loop(ctx, work context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var hand hand
	defer hand.wait() //nolint:errcheck // there is a first error, or a panic, that ends the run
	for {
		batch, err := r.poll(ctx)
		if err != nil {
			return err
		}
		r.decode(batch)
		if err := hand.wait(); err != nil || ctx.Err() != nil {
			return err // what is decoded and not begun is delivered again
		}
		if r.isBehind(batch) {
			hand = r.handOver(work, batch, end)
		} else if err := r.finish(work, batch); err != nil {
			return err
		}
	}
}

// isBehind reports whether half as much again as a batch has arrived already, or is
// about to: the client asks a broker for more once all of the last fetch was polled.
func (r *run) isBehind(b *batch) bool {
	return len(b.kafka) > 0 && 2*max(b.ahead, r.client.BufferedFetchRecords()) >= int64(len(b.kafka))
}

// A hand has the batch that is being applied and committed, or none.
type hand struct{ done chan error }

// handOver has a batch finished by a goroutine. If the work can't go on after that,
// it calls end.
func (r *run) handOver(work context.Context, b *batch, end func()) hand {
	h := hand{make(chan error, 1)}
	go func() {
		err := errGoexit
		defer func() {
			if err != nil {
				end()
			}
			h.done <- err
		}()
		err = r.finish(work, b)
	}()
	return h
}

// wait waits until no batch is in hand, and returns the error that keeps the work
// from going on.
func (h *hand) wait() error {
	if h.done == nil {
		return nil
	}
	err := <-h.done
	h.done = nil
	return err
}

// finish applies and commits a batch. A rebalance that takes partitions away waits
// for it, but not longer than Config.RebalanceHold, and not while the database is
// in trouble.
func (r *run) finish(work context.Context, b *batch) error {
	if len(b.records) == 0 {
		return nil
	}
	work, err := hooks(r.cfg.Hooks).batchStart(work, BatchStart{Records: b.records, Decode: b.took.decode})
	if err != nil {
		return r.cantGoOn(err)
	}
	b.hold = r.gates.hold(r.cfg.RebalanceHold)
	defer b.hold.end()
	err = r.apply(work, b)
	r.commit(b)
	r.vitals.freeHanded()
	b.hold.end()
	return errors.Join(err, r.cantGoOn(r.report(work, b)))
}

// poll waits for records. No partition is taken away between the moment in which
// it returns them and that in which it notes in which tenure they came.
func (r *run) poll(ctx context.Context) (*batch, error) {
	defer r.client.AllowRebalance()
	fetches := r.client.PollRecords(ctx, r.cfg.MaxBatch)
	failed, err := r.fetchErrors(ctx, fetches)
	if err != nil {
		return nil, err
	}
	b := r.gather(fetches)
	r.unpacker.polled(b.kafka, r.client.BufferedFetchRecords())
	if len(b.kafka) > 0 {
		r.failing.over()
	} else if failed { // the client would ask again at once
		r.client.AllowRebalance()
		r.failing.wait(ctx)
	}
	return b, nil
}

// report tells the log and the hooks of a settled batch. It returns an error if a hook
// panicked.
func (r *run) report(work context.Context, b *batch) error {
	r.log.batch(b)
	r.notify(b)
	return hooks(r.cfg.Hooks).batchEnd(work, Batch{
		Records: b.records, Outcomes: b.outcomes, Released: b.released,
		Decode: b.took.decode, Apply: b.took.apply,
	})
}
