package model

import (
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Message is one record with one change.
type Message struct {
	Origin   versioning.Origin
	Key      string
	Event    statemachine.Event
	ID       string
	Expected int64 // -1: the message carries no version
}

// A Step is one step that an entity has made.
type Step struct {
	Event statemachine.Event
	To    statemachine.State
	ID    string
}

// A Fate is what the model says has become of a message that is kept whole.
type Fate struct {
	Verdict versioning.Verdict
	Reason  versioning.Reason
}

// A Model is the state of the world after some messages.
type Model struct {
	MaxParked int // for one entity; 0 is no bound
	Identity  versioning.Identity

	History map[string][]Step          // by key
	Parked  []Message                  // in the order of parking
	Dead    map[versioning.Origin]Fate //

	machine machine
}

// New returns a world without entities.
func New(d statemachine.Definition, identity versioning.Identity) *Model {
	return &Model{
		Identity: identity, History: map[string][]Step{}, Dead: map[versioning.Origin]Fate{}, machine: machine{d},
	}
}

// State returns where an entity is.
func (m *Model) State(key string) statemachine.State {
	steps := m.History[key]
	if len(steps) == 0 {
		return statemachine.None
	}
	return steps[len(steps)-1].To
}

// Deliver lets a message take effect. It must be delivered once.
func (m *Model) Deliver(msg Message) {
	switch fate := m.judge(msg); fate.Verdict {
	case versioning.Applied:
		m.move(msg)
	case versioning.Early:
		if m.MaxParked > 0 && m.waiting(msg.Key) >= m.MaxParked {
			m.Dead[msg.Origin] = Fate{versioning.Rejected, versioning.ReasonTooManyParked}
			return
		}
		m.Parked = append(m.Parked, msg)
	case versioning.Rejected, versioning.Diverged:
		m.Dead[msg.Origin] = fate
	}
}

func (m *Model) waiting(key string) (n int) {
	for _, p := range m.Parked {
		if p.Key == key {
			n++
		}
	}
	return n
}

// move makes a step, and then all that the entity's parked messages make of it.
func (m *Model) move(msg Message) {
	to, _ := m.machine.fire(m.State(msg.Key), msg.Event)
	m.History[msg.Key] = append(m.History[msg.Key], Step{msg.Event, to, msg.ID})
	for i := 0; i < len(m.Parked); i++ {
		p := m.Parked[i]
		if p.Key != msg.Key {
			continue
		}
		fate := m.judge(p)
		if fate.Verdict == versioning.Early {
			continue
		}
		m.Parked = append(m.Parked[:i:i], m.Parked[i+1:]...)
		i--
		switch fate.Verdict {
		case versioning.Applied:
			m.move(p)
			return
		case versioning.Rejected, versioning.Diverged:
			m.Dead[p.Origin] = fate
		}
	}
}

func (m *Model) judge(msg Message) Fate {
	if !m.machine.knows(msg.Event) {
		return Fate{versioning.Rejected, versioning.ReasonUnknownEvent}
	}
	if msg.Expected >= 0 {
		return m.judgeVersion(msg)
	}
	if m.Identity == versioning.ByVersion {
		return Fate{versioning.Rejected, versioning.ReasonNoVersion}
	}
	state := m.State(msg.Key)
	if m.Identity == versioning.ByMessage && m.hasTaken(msg) {
		return Fate{versioning.Duplicate, ""}
	}
	if _, legal := m.machine.fire(state, msg.Event); legal {
		return Fate{versioning.Applied, ""}
	}
	switch {
	case m.machine.later(state, msg.Event) && state == statemachine.None:
		return Fate{versioning.Early, versioning.ReasonNoEntity}
	case m.machine.later(state, msg.Event):
		return Fate{versioning.Early, versioning.ReasonNotYet}
	case m.Identity == versioning.ByState && m.machine.behind(state, msg.Event):
		return Fate{versioning.Duplicate, ""}
	}
	return Fate{versioning.Rejected, versioning.ReasonIllegal}
}

func (m *Model) judgeVersion(msg Message) Fate {
	steps := m.History[msg.Key]
	switch at := int64(len(steps)); {
	case msg.Expected > at:
		return Fate{versioning.Early, versioning.ReasonVersionAhead}
	case msg.Expected < at && steps[msg.Expected].Event == msg.Event:
		return Fate{versioning.Duplicate, ""}
	case msg.Expected < at:
		return Fate{versioning.Diverged, versioning.ReasonVersionTaken}
	}
	if _, legal := m.machine.fire(m.State(msg.Key), msg.Event); legal {
		return Fate{versioning.Applied, ""}
	}
	return Fate{versioning.Rejected, versioning.ReasonIllegal}
}

func (m *Model) hasTaken(msg Message) bool {
	for _, step := range m.History[msg.Key] {
		if step.ID == msg.ID {
			return true
		}
	}
	return false
}
