package statemachine_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // for the zones of the tests

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
)

type period = statemachine.Period

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// TestPeriodAfter adds periods over ends of months, leap years and changes of clocks.
func TestPeriodAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone   string
		from   string
		period period
		want   string
	}{
		{"UTC", "2026-01-15T10:00:00Z", period{}, "2026-01-15T10:00:00Z"},
		{"UTC", "2026-01-15T10:00:00.123456789Z", period{Days: 1}, "2026-01-16T10:00:00.123456789Z"},
		{"UTC", "2026-01-31T10:00:00Z", period{Months: 1}, "2026-02-28T10:00:00Z"},
		{"UTC", "2028-01-31T10:00:00Z", period{Months: 1}, "2028-02-29T10:00:00Z"},
		{"UTC", "2028-01-31T10:00:00Z", period{Months: 2}, "2028-03-31T10:00:00Z"},
		{"UTC", "2028-01-31T10:00:00Z", period{Months: 13}, "2029-02-28T10:00:00Z"},
		{"UTC", "2028-02-29T10:00:00Z", period{Years: 1}, "2029-02-28T10:00:00Z"},
		{"UTC", "2028-02-29T10:00:00Z", period{Years: 4}, "2032-02-29T10:00:00Z"},
		{"UTC", "2096-02-29T10:00:00Z", period{Years: 4}, "2100-02-28T10:00:00Z"}, // 2100 is no leap year
		{"UTC", "2026-01-31T10:00:00Z", period{Months: 1, Days: 1}, "2026-03-01T10:00:00Z"},
		{"UTC", "2026-12-31T10:00:00Z", period{Days: 60}, "2027-03-01T10:00:00Z"},
		{"UTC", "2026-10-31T10:00:00Z", period{Years: 1, Months: 4, Days: 2}, "2028-03-02T10:00:00Z"},
		// Clocks are set forward on March 29 and back on October 25, 2026.
		{"Europe/Berlin", "2026-03-28T12:00:00+01:00", period{Days: 1}, "2026-03-29T12:00:00+02:00"},
		{"Europe/Berlin", "2026-03-28T12:00:00+01:00", period{Days: 2}, "2026-03-30T12:00:00+02:00"},
		{"Europe/Berlin", "2026-10-24T12:00:00+02:00", period{Days: 1}, "2026-10-25T12:00:00+01:00"},
		{"Europe/Berlin", "2026-02-28T12:00:00+01:00", period{Months: 1}, "2026-03-28T12:00:00+01:00"},
		{"Europe/Berlin", "2026-03-31T00:00:00+02:00", period{Months: 8}, "2026-11-30T00:00:00+01:00"},
		{"Europe/Berlin", "2026-03-28T23:30:00Z", period{Days: 1}, "2026-03-30T00:30:00+02:00"}, // it is March 29 there
		// America/New_York: March 8 and November 1, 2026.
		{"America/New_York", "2026-03-07T09:00:00-05:00", period{Days: 1}, "2026-03-08T09:00:00-04:00"},
		{"America/New_York", "2026-10-31T09:00:00-04:00", period{Days: 1}, "2026-11-01T09:00:00-05:00"},
		{"America/New_York", "2026-01-31T09:00:00-05:00", period{Months: 2}, "2026-03-31T09:00:00-04:00"},
		// Lord Howe sets its clocks by half an hour: on April 5 back and on October 4, 2026 forward.
		{"Australia/Lord_Howe", "2026-04-04T12:00:00+11:00", period{Days: 1}, "2026-04-05T12:00:00+10:30"},
		{"Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", period{Days: 1}, "2026-10-04T12:00:00+11:00"},
		// These clocks were set forward at the first midnight of a month, which so did not exist.
		{"America/Asuncion", "2023-09-15T12:00:00-04:00", period{Months: 1}, "2023-10-15T12:00:00-03:00"},
		{"Asia/Amman", "2011-03-15T12:00:00+02:00", period{Months: 1}, "2011-04-15T12:00:00+03:00"},
		{"Asia/Damascus", "2006-03-15T12:00:00+02:00", period{Months: 1}, "2006-04-15T12:00:00+03:00"},
	} {
		c.period.Zone = zone(t, c.zone)
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.period.After(from); got.Format(time.RFC3339Nano) != c.want {
			t.Errorf("%s in %s: %v after %s is %s, want %s", c.period, c.zone, c.period, c.from, got.Format(time.RFC3339Nano), c.want)
		}
	}
	from := time.Date(2026, 3, 28, 12, 0, 0, 0, zone(t, "Europe/Berlin"))
	if got := (period{Days: 1}).After(from); !got.Equal(from.Add(24*time.Hour)) || got.Location() != time.UTC {
		t.Errorf("without a zone, a day after %v is %v", from, got)
	}
}

// TestPeriodAfterGap adds a day to a time of day that the next day does not have.
func TestPeriodAfterGap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone string
		from time.Time
		gap  time.Duration
	}{
		{"Europe/Berlin", time.Date(2026, 3, 28, 1, 30, 0, 0, time.UTC), time.Hour},               // 02:30
		{"America/New_York", time.Date(2026, 3, 7, 7, 30, 0, 0, time.UTC), time.Hour},             // 02:30
		{"Australia/Lord_Howe", time.Date(2026, 10, 2, 15, 45, 0, 0, time.UTC), 30 * time.Minute}, // 02:15
	} {
		p := period{Days: 1, Zone: zone(t, c.zone)}
		got, exact := p.After(c.from), c.from.Add(24*time.Hour)
		if early, late := got.Before(exact.Add(-c.gap)), got.After(exact); early || late {
			t.Errorf("%s: a day after %v is %v", c.zone, c.from, got)
		}
	}
}

// daysFrom returns the number of a day of the Gregorian calendar, counted from 0000-03-01. (It is
// the algorithm of Howard Hinnant, not that of package time.)
func daysFrom(year, month, day int) int {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	yoe := year - era*400
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + (153*(month-3)+2)/5 + day - 1
}

// TestPeriodProperties checks random periods: the date is what the calendar says, the time of day
// is the same wherever it exists, and a later time is never due before an earlier one if the
// calendar allows that.
func TestPeriodProperties(t *testing.T) {
	t.Parallel()
	zones := []*time.Location{time.UTC, zone(t, "Europe/Berlin"), zone(t, "America/New_York"), zone(t, "Australia/Lord_Howe"), zone(t, "Asia/Kathmandu")}
	rapid.Check(t, func(t *rapid.T) {
		p := period{
			Years: rapid.IntRange(0, 5).Draw(t, "years"), Months: rapid.IntRange(0, 30).Draw(t, "months"), Days: rapid.IntRange(0, 800).Draw(t, "days"),
			Zone: rapid.SampledFrom(zones).Draw(t, "zone"),
		}
		at := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "at"), 0).In(p.Zone)
		got := p.After(at)
		months := (at.Year()+p.Years)*12 + int(at.Month()) - 1 + p.Months
		year, month := months/12, months%12+1
		last := daysFrom(year+month/12, month%12+1, 1) - daysFrom(year, month, 1)
		want := daysFrom(year, month, min(at.Day(), last)) + p.Days
		if date := daysFrom(got.Year(), int(got.Month()), got.Day()); date != want {
			t.Fatalf("%v after %v is %v, which is %d days off", p, at, got, date-want)
		}
		clock := func(t time.Time) time.Duration {
			hour, minute, second := t.Clock()
			return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
		}
		if moved := (clock(got) - clock(at)).Abs(); moved > time.Hour {
			t.Fatalf("%v after %v is %v", p, at, got)
		} else if moved > 0 {
			if again := time.Date(got.Year(), got.Month(), got.Day(), at.Hour(), at.Minute(), at.Second(), 0, p.Zone); clock(again) == clock(at) {
				t.Fatalf("%v after %v is %v, but %v exists", p, at, got, again)
			}
		}
		// A time on a later day, at the same time of day, is due on the same day or a later one.
		next := time.Date(at.Year(), at.Month(), at.Day()+rapid.IntRange(1, 40).Draw(t, "later"), at.Hour(), at.Minute(), at.Second(), 0, p.Zone)
		if due := p.After(next); due.Add(time.Hour).Before(got) {
			t.Fatalf("%v after %v is %v, but after %v it is %v", p, at, got, next, due)
		}
		// In UTC, days are of one length.
		days := period{Days: p.Days}
		other := at.Add(time.Duration(rapid.Int64Range(1, 1e15).Draw(t, "wait")))
		if a, b := days.After(at), days.After(other); b.Sub(a) != other.Sub(at) {
			t.Fatalf("%v after %v and %v is %v and %v", days, at, other, a, b)
		}
	})
}

func TestPeriodString(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]period{
		"0 days":                         {},
		"1 day":                          {Days: 1},
		"2 days":                         {Days: 2, Zone: time.UTC},
		"1 year 2 months":                {Years: 1, Months: 2},
		"3 months 1 day":                 {Months: 3, Days: 1},
		"1 month 3 days (Europe/Berlin)": {Months: 1, Days: 3, Zone: zone(t, "Europe/Berlin")},
	} {
		if got := p.String(); got != want {
			t.Errorf("String of %+v = %q, want %q", p, got, want)
		}
		if p.IsZero() != (want == "0 days") {
			t.Errorf("IsZero of %s = %v", want, p.IsZero())
		}
	}
	for want, d := range map[string]statemachine.Deadline{
		"": {}, "1h0m0s": {After: time.Hour}, "2 days": {Period: period{Days: 2}}, "2 days and 1h0m0s": {Period: period{Days: 2}, After: time.Hour},
	} {
		if got := d.String(); got != want {
			t.Errorf("String of %+v = %q, want %q", d, got, want)
		}
	}
	if got := statemachine.DatabaseClock.String() + " " + statemachine.RecordClock.String(); got != "database record" {
		t.Errorf("the clocks are %s", got)
	}
}

// TestDeadlineRefusals compiles deadlines that can't be meant.
func TestDeadlineRefusals(t *testing.T) {
	t.Parallel()
	type transition = statemachine.Transition
	in := statemachine.In
	counted := statemachine.Do(func(*statemachine.Firing, *order, int) error { return nil })
	nothing := statemachine.Do(func(*statemachine.Firing, *order, struct{}) error { return nil })
	never := statemachine.When("never", func(order, struct{}) bool { return false })
	late := transition{Event: "order.expired", From: in(pending), To: cancelled, After: time.Hour}
	with := func(change func(*transition)) transition {
		t := late
		change(&t)
		return t
	}
	for name, c := range map[string]struct {
		add    []transition
		state  statemachine.State
		detail string // of the only problem; "" if there is none
	}{
		"fine":               {[]transition{late}, "", ""},
		"a period":           {[]transition{with(func(t *transition) { t.After, t.AfterPeriod = 0, period{Days: 1} })}, "", ""},
		"both":               {[]transition{with(func(t *transition) { t.AfterPeriod = period{Days: 1} })}, "", ""},
		"no data":            {[]transition{with(func(t *transition) { t.Do = nothing })}, "", ""},
		"in several states":  {[]transition{with(func(t *transition) { t.From = in(pending, paid) })}, "", ""},
		"another time there": {[]transition{late, with(func(t *transition) { t.From, t.After = in(paid), 2*time.Hour })}, "", ""},
		"branches that agree": {[]transition{
			with(func(t *transition) { t.When, t.Do = never, nothing }),
			with(func(t *transition) { t.To, t.Do = paid, nothing }),
		}, "", ""},
		"a branch without": {[]transition{
			with(func(t *transition) { t.When, t.Do = never, nothing }),
			with(func(t *transition) { t.To, t.Do, t.After = paid, nothing, 0 }),
		}, "", ""},
		"branches that differ": {[]transition{
			with(func(t *transition) { t.When, t.Do = never, nothing }),
			with(func(t *transition) { t.To, t.Do, t.After = paid, nothing, 2*time.Hour }),
		}, pending, `2h0m0s after the entity enters "pending", but another branch says 1h0m0s`},
		"branches with other zones": {[]transition{
			with(func(t *transition) { t.When, t.Do, t.AfterPeriod = never, nothing, period{Days: 1} }),
			with(func(t *transition) {
				t.To, t.Do, t.AfterPeriod = paid, nothing, period{Days: 1, Zone: time.FixedZone("X", 3600)}
			}),
		}, pending, "another branch says"},
		"branches with other clocks": {[]transition{
			with(func(t *transition) { t.When, t.Do = never, nothing }),
			with(func(t *transition) { t.To, t.Do, t.Clock = paid, nothing, statemachine.RecordClock }),
		}, pending, "another branch says"},
		"creation":                 {[]transition{with(func(t *transition) { t.From, t.To = nil, pending })}, "", "creates the entity"},
		"negative":                 {[]transition{with(func(t *transition) { t.After = -1 })}, "", "negative"},
		"negative years":           {[]transition{with(func(t *transition) { t.AfterPeriod.Years = -1 })}, "", "negative"},
		"negative months":          {[]transition{with(func(t *transition) { t.AfterPeriod.Months = -1 })}, "", "negative"},
		"negative days":            {[]transition{with(func(t *transition) { t.AfterPeriod.Days = -1 })}, "", "negative"},
		"a clock without a time":   {[]transition{with(func(t *transition) { t.After, t.Clock = 0, statemachine.RecordClock })}, "", "Clock is set"},
		"an unknown clock":         {[]transition{with(func(t *transition) { t.Clock = 7 })}, "", "Clock 7 is unknown"},
		"functions that take data": {[]transition{with(func(t *transition) { t.Do = counted })}, "", "take data of type int"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := orderDefinition()
			if name == "creation" {
				d.Transitions[0] = statemachine.Transition{Event: "order.placed", To: pending}
			}
			n := len(d.Transitions)
			d.Transitions = append(d.Transitions, c.add...)
			if c.detail == "" {
				compile(t, d)
				return
			}
			want := []statemachine.Problem{{Reason: statemachine.ErrDeadline, Transition: n + len(c.add) - 1, Event: "order.expired", State: c.state}}
			got := problems(t, d)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(statemachine.Problem{}, "Detail"), cmpopts.EquateErrors()); diff != "" {
				t.Fatal(diff)
			}
			if !strings.Contains(got[0].Detail, c.detail) {
				t.Errorf("the detail is %q, want one about %q", got[0].Detail, c.detail)
			}
		})
	}
}

// TestDeadlines checks the deadlines of each state.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	in := statemachine.In
	d := orderDefinition()
	berlin := zone(t, "Europe/Berlin")
	d.Transitions = append(d.Transitions,
		statemachine.Transition{Event: "order.expired", From: in(pending, paid), To: cancelled, After: time.Hour, AfterPeriod: period{Months: 1, Zone: berlin}},
		statemachine.Transition{Event: "order.reminded", From: in(pending), To: pending, After: time.Minute, Clock: statemachine.RecordClock})
	m := compile(t, d)
	if !m.HasDeadlines() || compile(t, orderDefinition()).HasDeadlines() {
		t.Error("HasDeadlines")
	}
	expired := statemachine.Deadline{Event: "order.expired", After: time.Hour, Period: period{Months: 1, Zone: berlin}}
	reminded := statemachine.Deadline{Event: "order.reminded", After: time.Minute, Clock: statemachine.RecordClock}
	for state, want := range map[statemachine.State][]statemachine.Deadline{
		pending: {expired, reminded}, paid: {expired}, shipped: nil, "nosuch": nil,
	} {
		if diff := cmp.Diff(want, m.Deadlines(state), cmp.Comparer(func(a, b *time.Location) bool { return a == b })); diff != "" {
			t.Errorf("deadlines of %q (-want, +got):\n%s", state, diff)
		}
	}
	from := time.Date(2026, 2, 28, 23, 30, 0, 0, berlin)
	if got, want := expired.Due(from), time.Date(2026, 3, 29, 0, 30, 0, 0, berlin); !got.Equal(want) {
		t.Errorf("it is due at %v, want %v", got, want)
	}
	for _, c := range []struct {
		event statemachine.Event
		want  bool
	}{{"order.expired", true}, {"order.placed", true}, {"nosuch", false}} {
		if got := m.TakesNoData(c.event); got != c.want {
			t.Errorf("TakesNoData(%q) = %v", c.event, got)
		}
	}
}

// TestDeadlinesInDiagrams checks that diagrams show deadlines.
func TestDeadlinesInDiagrams(t *testing.T) {
	t.Parallel()
	d := two("placed", "pending", "expired", "done")
	d.Transitions[1].AfterPeriod, d.Transitions[1].After = period{Months: 1}, 90*time.Minute
	d.Transitions = append(d.Transitions, statemachine.Transition{Event: "closed", From: statemachine.In("pending"), To: "done"})
	m := compile(t, d)
	mermaid := `stateDiagram-v2
    state "pending" as s1_pending
    state "done" as s2_done
    [*] --> s1_pending : placed
    s1_pending --> s2_done : expired (after 1 month and 1h30m0s)
    s1_pending --> s2_done : closed
    s2_done --> [*]
`
	if diff := cmp.Diff(mermaid, m.Mermaid()); diff != "" {
		t.Error(diff)
	}
	graphviz := `    s1_pending -> s2_done [label="expired (after 1 month and 1h30m0s)"];`
	if got := m.Graphviz(); !strings.Contains(got, graphviz) {
		t.Errorf("Graphviz is\n%s, want a line\n%s", got, graphviz)
	}
}

// TestFiringOutputs checks what a Firing collects.
func TestFiringOutputs(t *testing.T) {
	t.Parallel()
	f := &statemachine.Firing{}
	if f.Outputs() != nil {
		t.Errorf("a new firing has outputs %+v", f.Outputs())
	}
	at := time.Unix(7, 0)
	f.Emit("a", 1)
	f.EmitMessage(statemachine.Message{Topic: "b", Key: []byte("k"), Headers: []statemachine.Header{{Key: "h", Value: []byte("v")}}})
	f.Emit("a", nil)
	f.Enqueue("job")
	f.Enqueue(errors.ErrUnsupported)
	f.At("expired", at)
	f.At("expired", at.Add(1))
	want := &statemachine.Outputs{
		Messages: []statemachine.Message{
			{Topic: "a", Value: 1}, {Topic: "b", Key: []byte("k"), Headers: []statemachine.Header{{Key: "h", Value: []byte("v")}}}, {Topic: "a"},
		},
		Jobs:   []any{"job", errors.ErrUnsupported},
		Timers: []statemachine.Timer{{Event: "expired", At: at}, {Event: "expired", At: at.Add(1)}},
	}
	if diff := cmp.Diff(want, f.Outputs(), cmpopts.EquateErrors()); diff != "" {
		t.Errorf("outputs (-want, +got):\n%s", diff)
	}
}
