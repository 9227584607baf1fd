package versioningtest

import (
	"maps"
	"slices"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Message is a message that a step has emitted.
type Message struct {
	Entity  versioning.Entity
	Event   statemachine.Event
	Version int64     // of the entity, after the step
	Index   int       // its place among the messages of the step, counted from 0
	Time    time.Time // of the record that made the step

	versioning.OutMessage
}

// A Job is a job that a step has enqueued.
type Job struct {
	Entity  versioning.Entity
	Event   statemachine.Event
	Version int64 // of the entity, after the step
	Job     any   // what was passed to [statemachine.Firing.Enqueue]
}

// A Timer is an armed timer of an entity. It may no longer hold: that is decided when it is
// due.
type Timer struct {
	Entity versioning.Entity
	versioning.Timer
}

// caused is what the steps of a database have caused.
type caused struct {
	messages []Message
	jobs     []Job
	timers   []Timer // in the order in which they are due
	rearmed  map[armed]int64

	packs    []versioning.Pack // of the outbox, in the order of their IDs
	lastPack int64             // the ID of the last pack
	unsent   []versioning.UnsentMessage
}

// armed names the timers of an entity for one event.
type armed struct {
	entity versioning.Entity
	event  statemachine.Event
}

func (c *caused) clone() caused {
	return caused{
		slices.Clone(c.messages), slices.Clone(c.jobs), slices.Clone(c.timers), maps.Clone(c.rearmed),
		slices.Clone(c.packs), c.lastPack, slices.Clone(c.unsent),
	}
}

// SetClock sets the clock of the store, by which timers are armed and fire. nil means
// [time.Now]. now is called with the store locked, so it must not call the store.
func (m *Memory) SetClock(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock = now
}

func (m *Memory) now() time.Time {
	if m.clock == nil {
		return time.Now()
	}
	return m.clock()
}

// Messages returns all messages that steps have emitted: those of one batch by entity, and of
// one entity in the order of its versions.
func (m *Memory) Messages() []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages)
}

// Jobs returns all jobs that steps have enqueued, in the order of [Memory.Messages].
func (m *Memory) Jobs() []Job {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.jobs)
}

// Timers returns the timers that are armed and have not fired, the first one that is due
// first.
func (m *Memory) Timers() []Timer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.timers)
}

// cause keeps what a move causes.
func (m *Memory) cause(move *versioning.Move) {
	for i := range move.Steps {
		step := &move.Steps[i]
		if step.Outputs == nil {
			continue
		}
		for index, message := range step.Outputs.Messages {
			m.messages = append(m.messages, Message{move.Entity, step.Event, step.Version, index, step.Record.Timestamp, message})
		}
		for _, job := range step.Outputs.Jobs {
			m.jobs = append(m.jobs, Job{move.Entity, step.Event, step.Version, job})
		}
	}
	for _, t := range move.Timers(m.rules[move.Entity.Machine].Machine, m.now()) {
		m.arm(Timer{move.Entity, t})
	}
}

// arm adds a timer, behind those that are due at the same time.
func (m *Memory) arm(t Timer) {
	at, _ := slices.BinarySearchFunc(m.timers, t, func(other, t Timer) int {
		if other.Due.After(t.Due) {
			return 1
		}
		return -1
	})
	m.timers = slices.Insert(m.timers, at, t)
	if t.Replaces {
		m.rearmed[armed{t.Entity, t.Event}] = t.Version
	}
}

// lookAtTimers adds to what is known about an entity what decides whether its timers hold.
func (m *Memory) lookAtTimers(e versioning.Entity, k *versioning.Known) {
	history := m.history[e]
	for i := range history {
		switch s := &history[i]; {
		case s.From != s.To:
			k.Entered = s.Version
		case i > 0 && s.From != history[i-1].To:
			k.Entered = s.Version - 1 // another writer has changed the state
		}
	}
	if n := len(history); n > 0 && k.Exists && history[n-1].To != k.Row.State {
		k.Entered = k.Row.Version // another writer has changed the state
	}
	for name, version := range m.rearmed {
		if name.entity != e {
			continue
		}
		if k.Rearmed == nil {
			k.Rearmed = make(map[statemachine.Event]int64)
		}
		k.Rearmed[name.event] = version
	}
}
