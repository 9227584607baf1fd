package statemachine

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Period is a length of time on the calendar, in a time zone: a month or a day is as long
// as it is there and then, also when clocks change. The zero value is no time.
type Period struct {
	Years, Months, Days int

	// Zone is the time zone whose calendar counts. nil means UTC.
	Zone *time.Location
}

// IsZero reports whether the period is no time.
func (p Period) IsZero() bool { return p.Years == 0 && p.Months == 0 && p.Days == 0 }

// After returns the time that is the period after t, at the same time of day. If the month
// has no such day, it is the last day of the month: a month after January 31 is February 28
// or 29. A time of day that does not exist because clocks are set forward is moved as
// [time.Date] does.
func (p Period) After(t time.Time) time.Time {
	if p.IsZero() {
		return t
	}
	zone := cmp.Or(p.Zone, time.UTC)
	t = t.In(zone)
	year, month, day := t.Date()
	// Months are counted in UTC, because a zone may lack the midnight at which one begins.
	year, month, _ = time.Date(year+p.Years, month+time.Month(p.Months), 1, 0, 0, 0, 0, time.UTC).Date()
	day = min(day, time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day())
	hour, minute, second := t.Clock()
	return time.Date(year, month, day+p.Days, hour, minute, second, t.Nanosecond(), zone)
}

// String returns the period in words, such as "1 month 3 days (Europe/Berlin)".
func (p Period) String() string {
	var parts []string
	for _, part := range []struct {
		n    int
		unit string
	}{{p.Years, "year"}, {p.Months, "month"}, {p.Days, "day"}} {
		switch part.n {
		case 0:
		case 1:
			parts = append(parts, "1 "+part.unit)
		default:
			parts = append(parts, strconv.Itoa(part.n)+" "+part.unit+"s")
		}
	}
	if len(parts) == 0 {
		return "0 days"
	}
	text := strings.Join(parts, " ")
	if p.Zone != nil && p.Zone != time.UTC {
		text += " (" + p.Zone.String() + ")"
	}
	return text
}

// A Clock says by which clock the time since an entity has entered a state is measured.
type Clock uint8

const (
	// DatabaseClock is the zero value: the entity entered the state when the database
	// made the transition.
	DatabaseClock Clock = iota

	// RecordClock means that the entity entered the state at the timestamp of the record
	// that made the transition.
	RecordClock
)

// String returns "database" or "record".
func (c Clock) String() string {
	if c == RecordClock {
		return "record"
	}
	return "database"
}

// A Deadline is an event that happens to an entity some time after it has entered a state,
// if it still is in that state.
type Deadline struct {
	Event  Event
	After  time.Duration
	Period Period
	Clock  Clock
}

// Due returns when the event happens to an entity that entered the state at the given time.
func (d *Deadline) Due(entered time.Time) time.Time { return d.Period.After(entered).Add(d.After) }

// String returns how long after the entity has entered the state the event happens.
func (d *Deadline) String() string {
	var parts []string
	if !d.Period.IsZero() {
		parts = append(parts, d.Period.String())
	}
	if d.After != 0 {
		parts = append(parts, d.After.String())
	}
	return strings.Join(parts, " and ")
}

// deadline returns the deadline of a transition. ok is false if it has none.
func (t Transition) deadline() (d Deadline, ok bool) {
	d = Deadline{t.Event, t.After, t.AfterPeriod, t.Clock}
	return d, t.After != 0 || !t.AfterPeriod.IsZero()
}

// same reports whether two deadlines mean the same time.
func (d *Deadline) same(other Deadline) bool {
	return d.Event == other.Event && d.After == other.After && d.Clock == other.Clock && d.Period.String() == other.Period.String()
}

// setDeadlines collects the deadlines of each state, which validate has checked.
func (m *Machine) setDeadlines() {
	m.deadlines = make(map[State][]Deadline)
	for _, t := range m.def.Transitions {
		d, ok := t.deadline()
		if !ok {
			continue
		}
		for _, s := range t.From {
			if !slices.ContainsFunc(m.deadlines[s], func(have Deadline) bool { return have.Event == d.Event }) {
				m.deadlines[s] = append(m.deadlines[s], d)
			}
		}
	}
}

// Deadlines returns the deadlines of an entity that has entered state s, in the order in
// which they are declared. The caller must not change the slice.
func (m *Machine) Deadlines(s State) []Deadline { return m.deadlines[s] }

// HasDeadlines reports whether any state of the machine has a deadline.
func (m *Machine) HasDeadlines() bool { return len(m.deadlines) > 0 }
