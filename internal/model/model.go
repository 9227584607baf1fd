package model

import (
	"maps"
	"slices"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Message is one record with its changes, which apply all or nothing.
type Message struct {
	Origin versioning.Origin
	ID     string
	Parts  []Part
}

// A Part is one change of a message.
type Part struct {
	Key      string
	Event    statemachine.Event
	Expected int64 // -1: the message has no expected version

	Data *Data  // for the programs of the event's transitions; nil if the machine has none
	Memo string // a column that the message sets; "" if it sets none
}

// A Step is one step of an entity.
type Step struct {
	Event  statemachine.Event
	To     statemachine.State
	ID     string
	Origin versioning.Origin

	asked Part
}

// A Fate is the model's verdict on a message.
type Fate struct {
	Verdict versioning.Verdict
	Reason  versioning.Reason
	Key     string // of the first part with that verdict
}

// A Waiting is a parked message.
type Waiting struct {
	Message

	For  string // the entity's key
	Seen int    // its version when the message was tried last
}

// isUpToDate reports whether a message need not be tried again: it depends on other
// entities than the one it waits for, which has not moved.
func (w Waiting) isUpToDate(version int) bool {
	return w.Seen == version && slices.ContainsFunc(w.Parts, func(p Part) bool { return p.Key != w.For })
}

// A Model is the state of the model after some messages.
type Model struct {
	MaxParked int // per entity; 0 means no limit
	Identity  versioning.Identity

	History map[string][]Step // by key
	Parked  []Waiting         // oldest first
	Dead    map[versioning.Origin]Fate
	Rows    map[string]Columns // by key; never changed in place

	Stored  func(*Row)     // makes of a row what the database stores; nil: the row itself
	Accepts func(Row) bool // whether the database accepts a row; nil: always

	machine machine
}

// New returns a model without entities.
func New(d Definition, identity versioning.Identity) *Model {
	return &Model{
		Identity: identity, History: map[string][]Step{}, Dead: map[versioning.Origin]Fate{}, Rows: map[string]Columns{},
		machine: newMachine(d),
	}
}

// Clone returns a copy.
func (m *Model) Clone() *Model {
	c := *m
	c.History, c.Parked, c.Dead, c.Rows = maps.Clone(m.History), slices.Clone(m.Parked), maps.Clone(m.Dead), maps.Clone(m.Rows)
	return &c
}

// State returns the state of an entity.
func (m *Model) State(key string) statemachine.State {
	steps := m.History[key]
	if len(steps) == 0 {
		return statemachine.None
	}
	return steps[len(steps)-1].To
}

// Deliver applies a message. Messages may be redelivered.
func (m *Model) Deliver(msg Message) {
	if _, isDead := m.Dead[msg.Origin]; isDead {
		return
	}
	for _, part := range msg.Parts { // another writer may have changed the row that a message waits for
		m.wake([]string{part.Key})
	}
	if slices.ContainsFunc(m.Parked, func(w Waiting) bool { return w.Origin == msg.Origin }) {
		return
	}
	fate, moved := m.try(msg)
	switch {
	case fate.Verdict == versioning.Early && m.MaxParked > 0 && m.waiting(fate.Key) >= m.MaxParked:
		m.Dead[msg.Origin] = Fate{versioning.Rejected, versioning.ReasonTooManyParked, fate.Key}
	case fate.Verdict == versioning.Early:
		m.Parked = append(m.Parked, Waiting{msg, fate.Key, len(m.History[fate.Key])})
	case dead(fate):
		m.Dead[msg.Origin] = fate
	}
	m.wake(moved)
}

func dead(f Fate) bool {
	return f.Verdict == versioning.Rejected || f.Verdict == versioning.Diverged
}

func (m *Model) waiting(key string) (n int) {
	for _, p := range m.Parked {
		if p.For == key {
			n++
		}
	}
	return n
}

// try makes all steps of a message, or none. It returns the keys of the
// entities that moved.
func (m *Model) try(msg Message) (worst Fate, moved []string) {
	before := m.Clone()
	known, unfit, refused := m.known(msg), slices.ContainsFunc(msg.Parts, m.lacksData), false
	guessed := map[string]bool{} // the entities that have taken nobody knows which branch
	for i, part := range msg.Parts {
		fate := m.judge(part, msg, known[i])
		if guessed[part.Key] && fate.Verdict != versioning.Diverged {
			continue
		}
		if fate.Verdict == versioning.Applied {
			call := worst.Verdict <= versioning.Applied && !unfit
			guessed[part.Key] = !call && len(m.machine.branches(m.State(part.Key), part.Event)) > 1
			fate.Verdict, fate.Reason = m.step(msg, part, call)
		}
		if fate.Verdict == versioning.Applied {
			moved = append(moved, part.Key)
			refused = refused || m.Accepts != nil && !m.Accepts(m.Rows[part.Key].Row)
		}
		if fate.Verdict > worst.Verdict {
			worst = fate
		}
	}
	if reason := whole(worst.Verdict, unfit, refused); reason != "" {
		worst = Fate{versioning.Rejected, reason, msg.Parts[0].Key}
	}
	if worst.Verdict > versioning.Applied {
		m.History, m.Rows, moved = before.History, before.Rows, nil
	}
	return worst, moved
}

// whole returns why a message is rejected that its parts alone would not reject.
func whole(worst versioning.Verdict, unfit, refused bool) versioning.Reason {
	switch {
	case unfit && (worst == versioning.Applied || worst == versioning.Early):
		return versioning.ReasonInvalidData
	case refused && worst == versioning.Applied:
		return versioning.ReasonConstraint
	}
	return ""
}

// known returns, for each part, the steps that its entity made earlier by
// messages with this ID. The message's own steps do not count.
func (m *Model) known(msg Message) [][]Step {
	known := make([][]Step, len(msg.Parts))
	for i, part := range msg.Parts {
		for _, s := range m.History[part.Key] {
			if s.ID == msg.ID {
				known[i] = append(known[i], s)
			}
		}
	}
	return known
}

// wake retries the messages that wait for these entities, one after another,
// and starts over after each one that moves something, until none does.
func (m *Model) wake(keys []string) {
	for len(keys) > 0 {
		if moved := m.release(keys[0]); len(moved) > 0 {
			keys = append(keys, moved...)
		} else {
			keys = keys[1:]
		}
	}
}

// release retries the messages that wait for an entity, up to the first one
// that moves something.
func (m *Model) release(key string) (moved []string) {
	for i := 0; i < len(m.Parked); i++ {
		if m.Parked[i].For != key || m.Parked[i].isUpToDate(len(m.History[key])) {
			continue
		}
		if other := m.outdatedBefore(i, key); other != "" {
			m.wake([]string{other})
			return m.release(key)
		}
		fate, moved := m.try(m.Parked[i].Message)
		if fate.Verdict == versioning.Early {
			m.Parked[i].For, m.Parked[i].Seen = fate.Key, len(m.History[fate.Key])
			continue
		}
		if dead(fate) {
			m.Dead[m.Parked[i].Origin] = fate
		}
		m.Parked = slices.Delete(slices.Clone(m.Parked), i, i+1)
		i--
		if len(moved) > 0 {
			return moved
		}
	}
	return nil
}

// outdatedBefore returns another entity of a waiting message, for which an earlier one waits that
// was judged before the entity moved: that one comes first.
func (m *Model) outdatedBefore(i int, key string) string {
	for _, part := range m.Parked[i].Parts {
		isOutdated := func(w Waiting) bool { return w.For == part.Key && w.Seen != len(m.History[part.Key]) }
		if part.Key != key && slices.ContainsFunc(m.Parked[:i], isOutdated) {
			return part.Key
		}
	}
	return ""
}

func (m *Model) judge(part Part, msg Message, known []Step) Fate {
	verdict, reason := m.verdict(part, msg, known)
	return Fate{verdict, reason, part.Key}
}

func (m *Model) verdict(part Part, msg Message, known []Step) (versioning.Verdict, versioning.Reason) {
	if part.Expected >= 0 {
		return m.byVersion(part, msg)
	}
	state := m.State(part.Key)
	same := func(s Step) bool { return m.sameRequest(s.asked, part) || s.Origin == msg.Origin }
	switch {
	case m.Identity == versioning.ByMessage && slices.ContainsFunc(known, same):
		return versioning.Duplicate, ""
	case m.Identity == versioning.ByMessage && len(known) > 0:
		return versioning.Diverged, versioning.ReasonMessageTaken
	case !m.machine.knows(part.Event):
		return versioning.Rejected, versioning.ReasonUnknownEvent
	case m.Identity == versioning.ByVersion:
		return versioning.Rejected, versioning.ReasonNoVersion
	}
	if m.machine.legal(state, part.Event) {
		return versioning.Applied, ""
	}
	switch {
	case m.machine.later(state, part.Event) && state == statemachine.None:
		return versioning.Early, versioning.ReasonNoEntity
	case m.machine.later(state, part.Event):
		return versioning.Early, versioning.ReasonNotYet
	case m.Identity == versioning.ByState && m.machine.behind(state, part.Event):
		return versioning.Duplicate, ""
	}
	return versioning.Rejected, versioning.ReasonIllegal
}

func (m *Model) byVersion(part Part, msg Message) (versioning.Verdict, versioning.Reason) {
	steps := m.History[part.Key]
	switch at := int64(len(steps)); {
	case part.Expected < at && steps[part.Expected].Event == part.Event &&
		(m.Identity == versioning.ByVersion || m.isOf(steps[part.Expected], part, msg)):
		return versioning.Duplicate, ""
	case part.Expected < at:
		return versioning.Diverged, versioning.ReasonVersionTaken
	case !m.machine.knows(part.Event):
		return versioning.Rejected, versioning.ReasonUnknownEvent
	case part.Expected > at:
		return versioning.Early, versioning.ReasonVersionAhead
	}
	if m.machine.legal(m.State(part.Key), part.Event) {
		return versioning.Applied, ""
	}
	return versioning.Rejected, versioning.ReasonIllegal
}
