package model

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// step makes one step of an entity, for an event that is legal. Without call, it takes the
// first branch and computes nothing.
func (m *Model) step(msg Message, part Part, call bool) (versioning.Verdict, versioning.Reason) {
	branch, row, err := m.compute(msg, part, call)
	switch {
	case branch < 0 && err == nil:
		return versioning.Rejected, versioning.ReasonNoBranch
	case statemachine.IsNotYet(err):
		return versioning.Early, versioning.ReasonNotYet
	case err != nil:
		return versioning.Rejected, versioning.ReasonRefused
	}
	columns := m.Rows[part.Key]
	if columns.Row = row; m.Stored != nil {
		m.Stored(&columns.Row)
	}
	if part.Memo != "" {
		columns.Memo = part.Memo
	}
	m.Rows[part.Key] = columns
	step := Step{Event: part.Event, To: m.machine.Transitions[branch].To, ID: msg.ID, Origin: msg.Origin, asked: part}
	m.History[part.Key] = append(slices.Clip(m.History[part.Key]), step)
	return versioning.Applied, ""
}

// compute chooses a branch and returns the row after its action.
func (m *Model) compute(msg Message, part Part, call bool) (branch int, row Row, err error) {
	row = m.Rows[part.Key].Row
	from := m.State(part.Key)
	for _, i := range m.machine.branches(from, part.Event) {
		if m.machine.programs == nil || !call {
			return i, row, nil
		}
		p := m.machine.programs[i]
		if p.Condition.Of != "" && !p.Condition.holds(row.clone(), part.Data.Clone()) {
			continue
		}
		if len(p.Action) == 0 {
			return i, row, nil
		}
		after := row.clone()
		err := p.actSafely(&statemachine.Firing{
			Machine: m.machine.Name, Key: part.Key, Event: part.Event, From: from, To: m.machine.Transitions[i].To,
			Version: int64(len(m.History[part.Key]) + 1), Time: Time(msg.Origin),
		}, &after, part.Data.Clone())
		return i, after, err
	}
	return -1, row, nil
}

var errPanic = errors.New("panic")

// actSafely turns a panic into an error.
func (p Program) actSafely(f *statemachine.Firing, row *Row, e Data) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errPanic
		}
	}()
	return p.act(f, row, e)
}

// Time returns the timestamp of the record at an origin.
func Time(o versioning.Origin) time.Time {
	return time.UnixMilli(1_700_000_000_000 + 1000*int64(o.Partition) + o.Offset).UTC()
}

// takesData reports whether an event has a transition with functions.
func (m *Model) takesData(event statemachine.Event) bool {
	for i, p := range m.machine.programs {
		if m.machine.Transitions[i].Event == event && (p.Condition.Of != "" || len(p.Action) > 0) {
			return true
		}
	}
	return false
}

func (m *Model) lacksData(part Part) bool { return part.Data == nil && m.takesData(part.Event) }

// sameRequest reports whether two parts ask for the same.
func (m *Model) sameRequest(a, b Part) bool {
	return a.Event == b.Event && a.Memo == b.Memo && (!m.takesData(a.Event) || reflect.DeepEqual(a.Data, b.Data))
}

// isOf reports whether a message has made a step.
func (m *Model) isOf(s Step, part Part, msg Message) bool {
	return s.ID == msg.ID && (m.sameRequest(s.asked, part) || s.Origin == msg.Origin)
}

// String returns the step as the history shows it.
func (s Step) String() string {
	return fmt.Sprintf("%s to %s by %s from %s", s.Event, s.To, s.ID, s.Origin)
}
