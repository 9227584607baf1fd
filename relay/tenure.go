package relay

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A tenure is one time for which a relay holds lanes without interruption. It ends with its
// Kafka clients, so nothing that they have buffered is sent after it.
type tenure struct {
	*Relay

	ctx    context.Context //nolint:containedctx // of the run; the lanes are released after it
	client *kgo.Client     // nil with transactions
	limits *limits

	work    sync.WaitGroup
	workCtx context.Context //nolint:containedctx // of the goroutines, which outlive ctx
	stop    context.CancelFunc
	wake    chan struct{} // holds one if the reader should look
	acks    chan struct{} // holds one if there are packs to delete

	mu      sync.Mutex
	lanes   [versioning.Lanes]*lane // nil if not held
	aborted bool

	forgetting map[string]bool // topics of which the clients are about to forget what they know
}

func newTenure(ctx context.Context, r *Relay) (*tenure, error) {
	t := &tenure{
		Relay: r, ctx: ctx,
		wake: make(chan struct{}, 1), acks: make(chan struct{}, 1), forgetting: make(map[string]bool),
	}
	t.workCtx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	t.limits = newLimits(r.cfg)
	if r.cfg.TransactionalID == "" {
		client, err := kgo.NewClient(r.cfg.clientOptions(kgo.ProducerBatchMaxBytesFn(t.limits.of), kgo.WithContext(t.workCtx))...)
		if err != nil {
			t.stop()
			return nil, fmt.Errorf("create the Kafka client: %w", err)
		}
		t.client = client
		t.work.Go(func() { _, _, _ = client.ProducerID(t.workCtx) }) // now, and not with the first message
		t.work.Go(func() { t.deleteLoop(t.workCtx) })
	}
	t.work.Go(func() { t.readLoop(t.workCtx) })
	t.work.Go(func() { t.watchLoop(t.workCtx) })
	t.work.Go(func() { t.truncateLoop(t.workCtx) })
	return t, nil
}

// close ends everything. Records that the clients have buffered are not sent.
func (t *tenure) close() {
	t.abort()
	t.work.Wait()
}

// abort closes the Kafka clients. What was in flight fails.
func (t *tenure) abort() {
	t.mu.Lock()
	if t.aborted {
		t.mu.Unlock()
		return
	}
	t.aborted = true
	clients := []*kgo.Client{t.client}
	for _, l := range t.lanes {
		if l != nil {
			clients = append(clients, l.alone)
			l.alone = nil
		}
	}
	t.mu.Unlock()
	t.stop()
	for _, c := range clients {
		if c != nil {
			c.Close()
		}
	}
}

// signal sends to a channel of capacity 1 unless it is full.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default: // a signal is already pending
	}
}

// Connected implements [versioning.LaneHolder].
func (t *tenure) Connected() { t.vitals.joined() }

// Take implements [versioning.LaneHolder].
func (t *tenure) Take(id int) {
	l := &lane{id: id}
	t.mu.Lock()
	t.lanes[id] = l
	if t.cfg.TransactionalID != "" && !t.aborted {
		l.tx = &transactor{tenure: t, lane: l, wake: make(chan struct{}, 1), busy: true}
		t.work.Go(func() { l.tx.run(t.workCtx) })
	}
	t.mu.Unlock()
	signal(t.wake)
}

// Wake implements [versioning.LaneHolder].
func (t *tenure) Wake() { signal(t.wake) }

// Release implements [versioning.LaneHolder].
func (t *tenure) Release(id int) {
	t.mu.Lock()
	l := t.lanes[id]
	if l == nil {
		t.mu.Unlock()
		return
	}
	l.leaving = true
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	idle := l.idle
	l.settle()
	if l.tx != nil {
		signal(l.tx.wake)
	}
	t.mu.Unlock()
	t.await(idle)
	t.mu.Lock()
	alone := l.alone
	l.alone = nil
	if t.lanes[id] == l {
		t.lanes[id] = nil
	}
	t.mu.Unlock()
	t.vitals.released()
	if alone != nil {
		alone.Close()
	}
}

// await waits until a lane is idle. If the run has ended and its grace period is over, it
// aborts what is in flight.
func (t *tenure) await(idle <-chan struct{}) {
	select {
	case <-idle:
		return
	case <-t.workCtx.Done():
		return
	case <-t.ctx.Done():
	}
	grace := time.NewTimer(t.cfg.ShutdownGrace)
	defer grace.Stop()
	select {
	case <-idle:
	case <-t.workCtx.Done():
	case <-grace.C:
		t.abort()
	}
}

// load returns how many lanes the tenure holds and what is in flight.
func (t *tenure) load() (lanes, inFlight int, oldest time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lanes {
		if l == nil {
			continue
		}
		lanes++
		inFlight += l.inFlight
		for _, p := range l.packs {
			if p.left > 0 && (oldest.IsZero() || p.sent.Before(oldest)) {
				oldest = p.sent
			}
		}
	}
	return lanes, inFlight, oldest
}
