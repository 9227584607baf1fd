package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A sentMessage is a message on the topic of announcements.
type sentMessage struct {
	announcement

	id        string // its header ce_id
	source    string // its header ce_source
	partition int32

	// Only of messages in transactions.
	asked, got  time.Time // when it was read from the outbox: between these times
	published   time.Time // when the relay gave it to its client
	transaction transaction
}

// String describes the message.
func (m *sentMessage) String() string {
	const clock = "15:04:05.000000"
	return fmt.Sprintf("%+v (ID %s, read at %s to %s, published at %s)", m.announcement, m.id, m.asked.Format(clock), m.got.Format(clock), m.published.Format(clock))
}

// A transaction names a transaction of Kafka, at least by the session that it was in.
type transaction struct {
	producer int64
	epoch    int16
}

// outputs is the part of a judgement, and of the summary, about messages and timers.
type outputs struct {
	Messages   int `json:"messages"` // of steps that still exist
	Repeated   int `json:"repeated"` // messages that were sent again
	Phantoms   int `json:"phantoms"` // messages of steps that a failover or a restore has lost
	Missing    int `json:"missing"`
	Disordered int `json:"disordered"`
	Misnamed   int `json:"misnamed"` // messages whose ID is not that of their step
	Expired    int `json:"expired"`  // timers that fired
	Early      int `json:"early"`    // timers that fired too early, or for a state that was left
	NotFired   int `json:"not_fired"`
}

func (o *outputs) add(more *outputs) {
	o.Messages += more.Messages
	o.Repeated += more.Repeated
	o.Phantoms += more.Phantoms
	o.Missing += more.Missing
	o.Disordered += more.Disordered
	o.Misnamed += more.Misnamed
	o.Expired += more.Expired
	o.Early += more.Early
	o.NotFired += more.NotFired
}

// readWithin is how long it may take to read the topic of announcements. A transaction that
// somebody has left open holds up its readers for a minute.
const readWithin = 90 * time.Second

// readAnnounced reads the whole topic of announcements, as a reader of committed records does.
func readAnnounced(ctx context.Context, broker string) (all []sentMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker), kgo.ConsumeTopics(announced), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // the last record may be a control record
	)
	if err != nil {
		return nil, fmt.Errorf("read topic %s: %w", announced, err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, announced)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("read topic %s: %w", announced, err)
	}
	left := make(map[int32]int64) // the last offset of each partition that is not read yet
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset - 1
		}
	})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			return nil, fmt.Errorf("read topic %s up to the offsets %v: %w", announced, left, err)
		}
		for _, r := range fetches.Records() {
			if last, ok := left[r.Partition]; ok && r.Offset >= last {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				continue
			}
			m, err := sentIn(r)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
	}
	return all, nil
}

// sentIn returns the message that a record is.
func sentIn(r *kgo.Record) (sentMessage, error) {
	m := sentMessage{partition: r.Partition, published: r.Timestamp, transaction: transaction{r.ProducerID, r.ProducerEpoch}}
	if err := json.Unmarshal(r.Value, &m.announcement); err != nil {
		return m, fmt.Errorf("topic %s, partition %d, offset %d: %w", announced, r.Partition, r.Offset, err)
	}
	for _, h := range r.Headers {
		switch h.Key {
		case "ce_id":
			m.id = string(h.Value)
		case "ce_source":
			m.source = string(h.Value)
		case askedHeader:
			m.asked = stamped(h.Value)
		case gotHeader:
			m.got = stamped(h.Value)
		}
	}
	return m, nil
}

// sentBy returns the messages of a tenant. Their source names the tenant's schema.
func (t tenant) sentBy(all []sentMessage) (own []sentMessage) {
	for _, m := range all {
		if strings.HasSuffix(m.source, "/"+t.pawl().String()) {
			own = append(own, m)
		}
	}
	return own
}

// announcements checks that there is a message for each step of wallets, tickets and bills, in the
// order of each entity's versions. A message may be sent again, with the same ID. If a failover
// or a restore has lost a step whose message was sent, another step may have taken its version;
// such a message is a phantom.
func (j *judgement) announcements(e evidence) {
	due := e.due()
	last := make(map[string]int64)
	places := make(map[string]int32)
	seen := make(map[announcement]bool)
	for _, m := range e.sent {
		who := m.Machine + "/" + m.Entity
		if at, ok := places[who]; ok && at != m.partition {
			j.report(&j.outputs.Disordered, "messages of %s are on partitions %d and %d", who, at, m.partition)
		}
		places[who] = m.partition
		switch {
		case !due[m.announcement]:
			j.outputs.Phantoms++
			continue
		case seen[m.announcement]:
			j.outputs.Repeated++
			continue
		case m.Version < last[who]:
			j.report(&j.outputs.Disordered, "message %+v comes after that of version %d", m.announcement, last[who])
		}
		seen[m.announcement], last[who] = true, max(last[who], m.Version)
		j.outputs.Messages++
	}
	for step := range due {
		if !seen[step] {
			j.report(&j.outputs.Missing, "there is no message about %+v", step)
		}
	}
	j.names(e, len(seen))
}

// due returns what the steps in the history must have sent.
func (e *evidence) due() map[announcement]bool {
	due := make(map[announcement]bool)
	trail := int64(0)
	for i := range e.steps {
		s := &e.steps[i]
		if s.Version == 1 {
			trail = 0
		}
		if s.Machine == wallets.Name() && s.Event != shut || s.Machine == tickets.Name() || s.Machine == bills.Name() {
			step := announcement{s.Machine, s.Entity, s.Version, s.Event, s.FromState, s.ToState, 0}
			trail = follow(trail, step)
			step.Trail = trail
			due[step] = true
		}
	}
	return due
}

// names checks that an ID belongs to one version of one entity, and that each of the messages,
// of which there are so many, has one.
func (j *judgement) names(e evidence, messages int) {
	ids := make(map[string]announcement) // without what made the step
	for _, m := range e.sent {
		step := announcement{Machine: m.Machine, Entity: m.Entity, Version: m.Version}
		if first, ok := ids[m.id]; ok && first != step {
			j.report(&j.outputs.Misnamed, "ID %q is that of %+v and of %+v", m.id, first, step)
		}
		ids[m.id] = step
	}
	if len(ids) < messages {
		j.report(&j.outputs.Misnamed, "%d IDs for %d messages", len(ids), messages)
	}
}

// tickets checks that each ticket has expired, and not before it had been open for its life.
func (j *judgement) tickets(e evidence) {
	var since time.Time // when the ticket was opened
	for i := range e.steps {
		s := &e.steps[i]
		if s.Machine != tickets.Name() {
			continue
		}
		if s.Event == expired {
			j.outputs.Expired++
			if was := s.At.Sub(since); was < ticketLife {
				j.report(&j.outputs.Early, "ticket %s has expired after %v: %+v", s.Entity, was, *s)
			}
		}
		if s.ToState == open {
			since = s.At
		}
	}
	for _, r := range e.rows {
		if r.Machine == tickets.Name() && r.State != ended {
			j.report(&j.outputs.NotFired, "ticket %s is still %s", r.Entity, r.State)
		}
	}
}
