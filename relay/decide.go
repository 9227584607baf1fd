package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// This file decides about messages that failed, in lanes in which nothing is in flight.

// decide decides about the failed messages of all lanes that wait for that, and sends messages
// again whose time has come.
func (t *tenure) decide(ctx context.Context) error {
	for id := range t.lanes {
		t.mu.Lock()
		l := t.lanes[id]
		decidable := l != nil && l.tx == nil && l.isDecidable()
		t.mu.Unlock()
		if decidable {
			if err := t.decideLane(ctx, l); err != nil {
				return err
			}
		}
		if l != nil && l.tx == nil {
			t.sendAgain(ctx, l)
		}
	}
	return nil
}

// decideLane decides about the failed messages of a lane. Nothing is in flight, and nothing is
// deleted while there are failed messages, so nobody else changes its packs.
func (t *tenure) decideLane(ctx context.Context, l *lane) error {
	var next attempt
	t.mu.Lock()
	packs := append([]*pack(nil), l.packs...)
	t.mu.Unlock()
	for _, p := range packs {
		var refused []versioning.Refused
		var rest []int
		for i := range p.Messages {
			s := p.states[i]
			if s.is == acked {
				continue
			}
			if reason := t.verdict(l, p, i); reason != "" {
				refused = append(refused, versioning.Refused{Emitted: p.Messages[i], Reason: reason, Detail: s.err.Error()})
				continue
			}
			rest = append(rest, i)
			next.add(s)
		}
		if len(refused) == 0 {
			continue
		}
		if err := t.refuse(ctx, l, p, refused, rest); err != nil {
			return err
		}
	}
	return t.decided(l, next)
}

// An attempt is what is to be sent again.
type attempt struct {
	messages int
	alone    bool // one at a time
	later    bool // after a wait
}

func (a *attempt) add(s state) {
	a.messages++
	isFinal := isOneOf(s.err, finalErrors)
	a.alone = a.alone || isFinal
	a.later = a.later || !isFinal && !errors.Is(s.err, errNotSent)
}

// verdict returns the reason for which a message that failed is not sent again; empty if it
// is.
func (t *tenure) verdict(l *lane, p *pack, i int) string {
	m, s := &p.Messages[i], p.states[i]
	switch {
	case errors.Is(s.err, errNotSent):
		return ""
	case isOneOf(s.err, finalErrors):
		if s.alone || l.isOvertaken(p, i) {
			return reasonOf(s.err)
		}
		return ""
	case t.isHopeless(m.Topic, s.err):
		return reasonOf(s.err)
	}
	if l.isOvertaken(p, i) {
		return reasonOvertaken
	}
	return ""
}

// isHopeless records an error that may pass, and reports whether it has lasted too long.
func (t *tenure) isHopeless(topic string, err error) bool {
	if !isOneOf(err, topicErrors) {
		t.vitals.failed(&t.vitals.kafka, reasonKafka, topic, err)
		t.log.limited(slog.LevelError, "messages could not be published; retrying", topic, "topic", topic, "error", err)
		return false
	}
	if errors.Is(err, kerr.UnknownTopicID) {
		t.forget(topic)
	}
	t.vitals.topicFailed(topic, err)
	t.log.limited(slog.LevelError, "a topic does not exist or is not writable; its messages wait", topic, "topic", topic, "error", err)
	return t.topics.refused(topic)
}

// forget makes the clients look for a topic anew. A client never takes a topic that was deleted and
// created again for the one that it knows. With transactions, each session has a client of its own.
func (t *tenure) forget(topic string) {
	t.mu.Lock()
	clients := []*kgo.Client{t.client}
	for _, l := range t.lanes {
		if l != nil {
			clients = append(clients, l.alone)
		}
	}
	busy := t.aborted || t.forgetting[topic]
	if !busy {
		t.forgetting[topic] = true
	}
	t.mu.Unlock()
	if busy {
		return
	}
	t.work.Go(func() { // it may wait for the brokers
		for _, c := range clients {
			if c != nil {
				c.PurgeTopicsFromProducing(topic)
			}
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.forgetting, topic)
	})
}

// refuse makes messages of a pack unsent messages.
func (t *tenure) refuse(ctx context.Context, l *lane, p *pack, refused []versioning.Refused, rest []int) error {
	messages, states := make([]versioning.Emitted, len(rest)), make([]state, len(rest))
	for to, from := range rest {
		messages[to], states[to] = p.Messages[from], p.states[from]
	}
	left, ok, err := t.cfg.Store.RefuseMessages(ctx, p.PackRef, refused, messages)
	if err != nil {
		return err
	}
	published := len(p.Messages) - len(refused) - len(rest)
	if ok {
		t.vitals.count(published, len(refused))
		for i := range refused {
			t.log.limited(slog.LevelWarn, "message can't be published; table unsent has it, and Store.Resend sends it again once that is fixed",
				refused[i].Topic, "topic", refused[i].Topic, "machine", refused[i].Entity.Machine, "id", clip(refused[i].ID()), "reason", refused[i].Reason)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !ok || len(rest) == 0 { // another relay has dealt with the pack, or nothing is left of it
		l.remove(map[*pack]bool{p: true})
		return nil
	}
	l.bytes += left.Size - p.Size
	p.Pack, p.left, p.states = left, len(rest), states
	return nil
}

// clip limits the length of a name that a message contains.
func clip(name string) string {
	const most = 100
	if len(name) <= most {
		return name
	}
	return name[:most] + "..."
}

// decided ends a decision.
func (t *tenure) decided(l *lane, next attempt) error {
	var client *kgo.Client
	if next.alone && l.alone == nil {
		// The broker decides whether a message is too large, not the client.
		var err error
		client, err = kgo.NewClient(t.cfg.clientOptions(kgo.ProducerBatchMaxBytes(maxAlone), kgo.WithContext(t.workCtx))...)
		if err != nil {
			return fmt.Errorf("create a Kafka client: %w", err)
		}
	}
	t.mu.Lock()
	l.failed = false
	if l.wait == nil {
		l.wait = t.cfg.backOff()
	}
	if l.retryAt = time.Now(); next.later {
		l.retryAt = l.retryAt.Add(l.wait.NextBackOff())
	}
	if client != nil && !t.aborted {
		l.alone, client = client, nil
	}
	l.settle()
	t.mu.Unlock()
	signal(t.acks)
	if client != nil {
		client.Close()
	}
	return nil
}

// maxAlone is the largest batch of a client that sends one message at a time. Stores accept
// messages up to 16 MiB.
const maxAlone = 64 << 20

// A letter is a message to send.
type letter struct {
	p *pack
	i int
}

// isDue reports whether failed messages are to be sent again now.
func (l *lane) isDue() bool {
	return !l.failed && l.wait != nil && l.inFlight == 0 && !l.leaving && !time.Now().Before(l.retryAt)
}

// unsent returns the messages that have failed, in their order, and whether one of them must be
// sent alone.
func (l *lane) unsent() (todo []letter, alone bool) {
	for _, p := range l.packs {
		for i, s := range p.states {
			if s.is == failed {
				todo, alone = append(todo, letter{p, i}), alone || isOneOf(s.err, finalErrors)
			}
		}
	}
	return todo, alone
}

// sendAgain sends the failed messages of a lane again if it is time for that.
func (t *tenure) sendAgain(ctx context.Context, l *lane) {
	t.mu.Lock()
	if !l.isDue() || t.aborted {
		t.mu.Unlock()
		return
	}
	todo, alone := l.unsent()
	client, closing := t.client, (*kgo.Client)(nil)
	if l.alone != nil && alone {
		client, todo = l.alone, todo[:1]
	} else {
		l.alone, closing = nil, l.alone
	}
	for _, o := range todo {
		o.p.states[o.i] = state{alone: client != t.client}
	}
	l.inFlight += len(todo)
	if len(todo) == 0 { // all that had failed has arrived
		l.wait = nil
		signal(t.wake)
	}
	t.mu.Unlock()
	t.sendAll(ctx, client, l, todo)
	if closing != nil {
		closing.Close()
	}
	if len(todo) == 0 {
		t.vitals.over(&t.vitals.kafka)
	}
}

// sendAll sends messages that count as in flight, in their order, up to one that is larger than
// the batches of its topic. Such a message must be sent alone: perhaps it can be compressed.
func (t *tenure) sendAll(ctx context.Context, client *kgo.Client, l *lane, letters []letter) {
	for n, o := range letters {
		if client == t.client && t.limits.exceeded(&o.p.Messages[o.i]) {
			t.answered(l, o.p, o.i, kerr.MessageTooLarge)
			for _, next := range letters[n+1:] {
				t.answered(l, next.p, next.i, errNotSent)
			}
			return
		}
		t.produce(ctx, client, l, o.p, o.i)
	}
}
