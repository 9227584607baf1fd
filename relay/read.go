package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

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
		if lanes, _, _ := t.load(); lanes == 0 {
			err = nil // the lanes were released meanwhile, so nobody needs what was not read
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.vitals.failed(&t.vitals.reading, reasonDatabase, "", err)
			t.log.limited(slog.LevelError, "the outbox can't be read; retrying", "", "error", err)
			if !pace.Sleep(ctx, wait.NextBackOff()) {
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
		t.vitals.over(&t.vitals.damaged) // perhaps the lane was released
		return false, nil
	}
	packs, err := t.cfg.Store.Packs(ctx, want)
	switch {
	case err == nil:
		t.vitals.over(&t.vitals.damaged)
	case versioning.CauseOf(err) == versioning.Data:
		t.vitals.failed(&t.vitals.damaged, reasonDamaged, "", err)
		t.log.limited(slog.LevelError, "a row of the outbox can't be read; its lane waits", "", "error", err)
	default:
		return false, err
	}
	for i := range packs {
		if t.client != nil {
			t.limits.learn(ctx, &t.work, t.client, packs[i].Messages)
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
