package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	end    func(error)     // ends the tenure
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
}

func newTenure(ctx context.Context, end func(error), r *Relay) (*tenure, error) {
	t := &tenure{
		Relay: r, ctx: ctx, end: end,
		wake: make(chan struct{}, 1), acks: make(chan struct{}, 1),
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
	t.vitals.over(&t.vitals.holding)
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

// minPoll is the shortest wait before the reader looks again without a reason.
const minPoll = 5 * time.Millisecond

// readLoop reads packs and sends them, and decides about messages that failed. It is the only
// goroutine that sends, so the messages of a lane are sent in their order.
func (t *tenure) readLoop(ctx context.Context) {
	poll, wait := minPoll, t.cfg.backOff()
	timer := time.NewTimer(poll)
	defer timer.Stop()
	for {
		found, err := t.readOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.vitals.failed(&t.vitals.reading, reasonDatabase, "", err)
			t.log.limited(slog.LevelError, "the outbox can't be read; retrying", "", "error", err)
			if !sleep(ctx, wait.NextBackOff()) {
				return
			}
			continue
		case found:
			poll = minPoll
		default:
			poll = min(2*poll, t.cfg.PollEvery)
		}
		wait.Reset()
		t.vitals.over(&t.vitals.reading)
		timer.Reset(t.nextLook(poll))
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer.C:
		}
	}
}

// nextLook returns how long to wait: until the next attempt of a lane, or for poll.
func (t *tenure) nextLook(poll time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lanes {
		if l != nil && !l.failed && l.wait != nil && l.inFlight == 0 {
			poll = min(poll, max(time.Millisecond, time.Until(l.retryAt)))
		}
	}
	return poll
}

// readOnce sends what there is to send. It reports whether there were new packs.
func (t *tenure) readOnce(ctx context.Context) (found bool, err error) {
	if err := t.decide(ctx); err != nil {
		return false, err
	}
	want, lanes := t.wanted()
	if len(want) == 0 {
		return false, nil
	}
	packs, err := t.cfg.Store.Packs(ctx, want)
	if err != nil {
		return false, err
	}
	for i := range packs {
		if t.client != nil {
			t.limits.learn(ctx, t.client, packs[i].Messages)
		}
		t.send(ctx, lanes[packs[i].Lane], newPack(packs[i]))
	}
	return len(packs) > 0, nil
}

// An asked is a lane that was asked for packs.
type asked struct {
	*lane

	session int
}

// wanted returns what to read.
func (t *tenure) wanted() (want []versioning.Wanted, lanes [versioning.Lanes]asked) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, l := range t.lanes {
		if l == nil {
			continue
		}
		if w, ok := l.wanted(t.cfg.LaneBytes); ok {
			want, lanes[i] = append(want, w), asked{l, l.session}
		}
	}
	return want, lanes
}

// send sends a pack, unless its lane is to be released or has failed meanwhile.
func (t *tenure) send(ctx context.Context, from asked, p *pack) {
	l := from.lane
	t.mu.Lock()
	if l != t.lanes[p.Lane] || l.session != from.session || l.leaving || l.isBlocked() || t.aborted {
		t.mu.Unlock()
		return
	}
	l.packs, l.bytes = append(l.packs, p), l.bytes+p.Size
	if l.tx != nil {
		signal(l.tx.wake)
		t.mu.Unlock()
		return
	}
	l.inFlight += len(p.Messages)
	t.mu.Unlock()
	letters := make([]letter, len(p.Messages))
	for i := range letters {
		letters[i] = letter{p, i}
	}
	t.sendAll(ctx, t.client, l, letters)
	if len(p.Messages) == 0 { // nothing writes such a pack
		signal(t.acks)
	}
}

// produce sends a message that counts as in flight.
func (t *tenure) produce(ctx context.Context, client *kgo.Client, l *lane, p *pack, i int) {
	client.Produce(ctx, recordOf(&p.Messages[i]), func(_ *kgo.Record, err error) { t.answered(l, p, i, err) })
}

// answered records the broker's answer to a message.
func (t *tenure) answered(l *lane, p *pack, i int, err error) {
	if err == nil && t.topics.accepts(p.Messages[i].Topic) {
		t.vitals.over(&t.vitals.topic)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l.inFlight--
	if err == nil {
		p.states[i] = state{is: acked}
		if p.left--; p.left == 0 {
			signal(t.acks)
		}
	} else {
		p.states[i].is, p.states[i].err = failed, err
		l.failed = true
	}
	if l.isBlocked() && l.inFlight == 0 {
		signal(t.wake)
	}
	l.settle()
}

// deleteLoop deletes acknowledged packs.
func (t *tenure) deleteLoop(ctx context.Context) {
	wait := t.cfg.backOff()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.acks:
		}
		for {
			err := t.deleteAcked(ctx)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				wait.Reset()
				t.vitals.over(&t.vitals.deleting)
				break
			}
			t.vitals.failed(&t.vitals.deleting, reasonDatabase, "", err)
			t.log.limited(slog.LevelError, "published messages can't be deleted from the outbox; retrying", "", "error", err)
			if !sleep(ctx, wait.NextBackOff()) {
				return
			}
		}
	}
}

func (t *tenure) deleteAcked(ctx context.Context) error {
	done := make(map[*pack]bool)
	var refs []versioning.PackRef
	n := 0
	t.mu.Lock()
	for _, l := range t.lanes {
		if l == nil {
			continue
		}
		for _, p := range l.packs {
			if p.left == 0 {
				done[p], refs, n = true, append(refs, p.PackRef), n+len(p.Messages)
			}
		}
	}
	t.mu.Unlock()
	if len(refs) == 0 {
		return nil
	}
	if _, err := t.cfg.Store.DeletePacks(ctx, refs, false); err != nil {
		return err
	}
	t.vitals.count(n, 0)
	t.removed(done)
	return nil
}

// removed forgets packs that are deleted.
func (t *tenure) removed(gone map[*pack]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lanes {
		if l == nil {
			continue
		}
		l.remove(gone)
		if l.full {
			signal(t.wake)
		}
		l.settle()
	}
}

// truncateEvery is the time between two attempts to free the space of deleted packs.
const truncateEvery = 5 * time.Second

func (t *tenure) truncateLoop(ctx context.Context) {
	for sleep(ctx, truncateEvery) {
		if lanes, _, _ := t.load(); lanes == 0 {
			continue
		}
		if _, err := t.cfg.Store.TruncateOutbox(ctx); err != nil && ctx.Err() == nil {
			t.log.limited(slog.LevelWarn, "the space of published messages can't be freed; retrying", "", "error", err)
		}
	}
}

// watchLoop looks for messages that are in flight for too long: the client retries without
// saying so.
func (t *tenure) watchLoop(ctx context.Context) {
	for sleep(ctx, t.cfg.StalledAfter/4) {
		_, inFlight, oldest := t.load()
		if inFlight == 0 || time.Since(oldest) < t.cfg.StalledAfter {
			t.vitals.over(&t.vitals.stalled)
			continue
		}
		err := errors.New("no broker has acknowledged them")
		if t.client != nil {
			if ping := t.ping(ctx); ping != nil {
				err = fmt.Errorf("no broker answers: %w", ping)
			}
		}
		t.vitals.failed(&t.vitals.stalled, reasonStalled, "", err)
		t.log.limited(slog.LevelError, "messages are not acknowledged; retrying", "", "in_flight", inFlight, "oldest", oldest, "error", err)
	}
}

func (t *tenure) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, limitTimeout)
	defer cancel()
	return t.client.Ping(ctx)
}
