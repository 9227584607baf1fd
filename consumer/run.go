package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A run is one run of a worker. Its fields belong to the goroutine of Run, but
// for those that say otherwise; apply lends the batch to goroutines of its own
// and waits for them.
type run struct {
	cfg     Config
	vitals  *vitals     // the worker's; safe for concurrent use
	log     *logger     // safe for concurrent use
	client  *kgo.Client // safe for concurrent use
	stop    context.CancelFunc
	owned   *ownership    // shared with the client's callbacks
	reading positions     // shared with the client's callbacks
	pending progress      // settled, but not known to be committed
	letters chan struct{} // holds one if there are dead letters to copy
	failing pause         // fetches that bring nothing but errors
}

func newRun(ctx context.Context, cfg Config, vitals *vitals) (*run, error) {
	r := &run{cfg: cfg, vitals: vitals, log: newLogger(cfg), owned: newOwnership(), pending: make(progress), letters: make(chan struct{}, 1)}
	r.failing.retry = r.backOff()
	// The client outlives ctx: it has to commit and to leave the group.
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	opts := append(cfg.clientOptions(), kgo.WithContext(ctx),
		kgo.OnPartitionsAssigned(r.onAssigned), kgo.OnPartitionsRevoked(r.onRevoked),
		kgo.OnPartitionsLost(r.onLost), kgo.OnOffsetsFetched(r.onOffsetsFetched))
	var err error
	if r.client, err = kgo.NewClient(opts...); err != nil {
		r.stop()
		return nil, fmt.Errorf("make the Kafka client: %w", err)
	}
	return r, nil
}

func (r *run) loop(ctx, work context.Context) error {
	for ctx.Err() == nil {
		if err := r.turn(ctx, work); err != nil {
			return err
		}
	}
	return nil
}

// turn is the way of a record: poll, decode, fold and apply, commit. A rebalance
// waits from poll to commit, but not longer than Config.RebalanceHold, and not
// while the database is in trouble.
func (r *run) turn(ctx, work context.Context) error {
	batch, err := r.poll(ctx)
	release := r.holdRebalance()
	defer release()
	if err != nil {
		return err
	}
	r.decode(batch)
	err = r.apply(work, batch)
	r.commit(batch)
	r.vitals.freeHanded()
	release()
	r.report(batch)
	return err
}

// poll waits for records. From here to the end of the turn the partitions stay
// ours.
func (r *run) poll(ctx context.Context) (*batch, error) {
	if len(r.pending) > 0 { // come back to commit it, records or not
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.cfg.RetryMax)
		defer cancel()
	}
	fetches := r.client.PollRecords(ctx, r.cfg.MaxBatch)
	failed, err := r.fetchErrors(fetches)
	if err != nil {
		return nil, err
	}
	b := r.gather(fetches)
	if len(b.kafka) > 0 {
		r.failing.over()
	} else if failed { // the client would ask again at once
		r.client.AllowRebalance()
		r.failing.wait(ctx)
	}
	return b, nil
}

// holdRebalance bounds for how long the batch in hand holds up a rebalance. The
// function that it returns lets rebalances happen now. Once that has returned,
// nothing of this turn reaches into the next one.
func (r *run) holdRebalance() (release func()) {
	var h hold
	h.timer = time.AfterFunc(r.cfg.RebalanceHold, func() { h.end(r.client) })
	return func() {
		h.timer.Stop()
		h.end(r.client)
	}
}

// report tells the log and the hooks of a settled batch.
func (r *run) report(b *batch) {
	if len(b.records) == 0 {
		return
	}
	r.log.batch(b)
	r.noteLetters(b)
	done := Batch{
		Records: b.records, Outcomes: b.outcomes, Released: b.released,
		Decode: b.took.decode, Apply: b.took.apply, Commit: b.took.commit,
	}
	for _, hook := range r.cfg.Hooks {
		if h, ok := hook.(BatchHook); ok {
			h.OnBatch(done)
		}
	}
}
