package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// A published is a message on the topic.
type published struct {
	id    string
	value string
	at    time.Time // when it was produced
	said  announcement
}

// checkAlarms checks what alarms have caused. It knows the history and the topic.
func (w *world) checkAlarms(l *ledger) {
	if w.script.alarms == 0 {
		return
	}
	topic := w.readAnnouncements()
	restored := w.wasRestored()
	known := make(map[string]string) // by ID
	for i := range w.script.alarms {
		entity := versioning.Entity{Machine: alarmDefinition.Name, Key: fmt.Sprint("alarm-", i)}
		want := l.announced(entity)
		w.checkMessages(entity, want, topic, restored)
		for _, m := range want {
			known[m.id] = m.value
		}
		w.checkTimers(l, entity)
	}
	for id, all := range topic {
		w.checkRepeats(id, all, known, restored)
	}
}

// announced returns the messages that an alarm's steps have emitted, as its history tells.
func (l *ledger) announced(e versioning.Entity) (all []published) {
	for _, s := range l.history[e.Key] {
		n := 1
		at := l.timeOf(e, &s)
		if s.Event == armed {
			n += l.script.messages[s.Origin.Partition][s.Origin.Offset].Louds
		}
		for i := range n {
			value, err := json.Marshal(announcement{s.Event, at, i})
			if err != nil {
				panic(err)
			}
			m := versioning.Emitted{Entity: e, Version: s.Version, Index: i}
			all = append(all, published{id: m.ID(), value: string(value), at: at})
		}
	}
	return all
}

// timeOf returns the time of the record that made a step. When a timer was due, only the store
// knows: a database that was restored has the timers of its own past, and those of the past
// that was lost have the same origins.
func (l *ledger) timeOf(e versioning.Entity, s *versioningtest.Transition) time.Time {
	if isTimer(s.Origin) {
		first := versioning.Emitted{Entity: e, Version: s.Version}
		return l.emitted[first.ID()]
	}
	return l.produced[placeOf(s.Origin)]
}

// checkMessages checks that all messages of an alarm are on the topic, and that those that
// are there for the first time are in order.
func (w *world) checkMessages(e versioning.Entity, want []published, topic map[string][]published, restored bool) {
	last := -1
	for _, m := range want {
		found := slices.IndexFunc(topic[m.id], func(p published) bool { return p.value == m.value })
		if found < 0 {
			w.fail("message %s of %v is missing: %s; the topic has %v", m.id, e, m.value, topic[m.id])
			continue
		}
		first := topic[m.id][0]
		if !restored && w.order[m.id] < last {
			w.fail("message %s of %v is published before an earlier one", m.id, e)
		}
		last = w.order[m.id]
		if first.at.Before(m.at.Truncate(time.Millisecond)) && !restored {
			w.fail("message %s of %v is published at %v, but its transition was due at %v", m.id, e, first.at, m.at)
		}
		w.cover("message")
	}
}

// checkRepeats checks that messages with one ID are the same, and that a transition has
// emitted them. After a restore, the topic also has the messages of transitions that were
// lost, and other ones may have their IDs.
func (w *world) checkRepeats(id string, all []published, known map[string]string, restored bool) {
	if len(all) > 1 {
		w.cover("message repeated")
	}
	if restored {
		return
	}
	for _, m := range all {
		if value, ok := known[id]; !ok || m.value != value {
			w.fail("message %s is on the topic: %s; its transition says %q", id, m.value, value)
		}
	}
}

// readAnnouncements reads the topic, by message ID.
func (w *world) readAnnouncements() map[string][]published {
	client, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(w.net.DialContext), kgo.ConsumeTopics(announcements))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	left := 0
	for _, p := range w.cluster.PartitionInfos(announcements) {
		left += int(p.HighWatermark)
	}
	topic := make(map[string][]published)
	w.order = make(map[string]int)
	for n := 0; left > 0; {
		fetches := client.PollFetches(context.Background())
		fetches.EachRecord(func(r *kgo.Record) {
			m := published{value: string(r.Value), at: r.Timestamp}
			for _, h := range r.Headers {
				if h.Key == "ce_id" {
					m.id = string(h.Value)
				}
			}
			if err := json.Unmarshal(r.Value, &m.said); err != nil {
				w.fail("message %q: %v", m.value, err)
			}
			if _, again := w.order[m.id]; !again {
				w.order[m.id] = n
			}
			topic[m.id] = append(topic[m.id], m)
			n, left = n+1, left-1
		})
	}
	return topic
}

// checkTimers checks that each timer of an alarm has fired once if it still held, and not
// otherwise.
func (w *world) checkTimers(l *ledger, e versioning.Entity) {
	var holds map[statemachine.Event]int64 // by event, the version that armed the timer
	for _, s := range l.history[e.Key] {
		if isTimer(s.Origin) {
			version, event := timerOf(s.MessageID)
			if event != s.Event || holds[event] != version {
				w.fail("the timer of %v for %q that was armed at version %d made version %d; those that held were %v", e, event, version, s.Version, holds)
			}
			w.cover("timer made a step")
		}
		if s.From != s.To {
			holds = make(map[statemachine.Event]int64)
			for _, d := range alarm.Deadlines(s.To) {
				holds[d.Event] = s.Version
			}
		}
		if s.Event == armed && l.script.messages[s.Origin.Partition][s.Origin.Offset].After > 0 {
			if holds[rang] != s.Version {
				w.cover("timer replaced")
			}
			holds[rang] = s.Version
		}
	}
	for event, version := range holds { // nothing has ended the state, but all timers have fired
		w.fail("the timer of %v for %q that was armed at version %d is lost", e, event, version)
	}
}

// timerOf returns which timer a message ID names.
func timerOf(id string) (version int64, event statemachine.Event) {
	parts := strings.SplitN(id, "/", 3)
	if len(parts) != 3 || parts[0] != "pawl.timer" {
		return 0, ""
	}
	version, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return 0, ""
	}
	return version, statemachine.Event(parts[2])
}
