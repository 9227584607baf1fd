package versioning_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// visit has a deadline in one state, and an event that sets a timer.
var visit = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "came", To: "here", Do: statemachine.Do(expect)},
		{Event: "stayed", From: statemachine.In("here"), To: "here", Do: statemachine.Do(expect)},
		{Event: "left", From: statemachine.In("here"), To: "away"},
		{Event: "returned", From: statemachine.In("away"), To: "here", Do: statemachine.Do(expect)},
		{Event: "expired", From: statemachine.In("here"), To: "over", After: time.Hour},
		{Event: "checked", From: statemachine.In("here"), To: "here", Do: statemachine.Do(func(f *statemachine.Firing, _ *struct{}, _ struct{}) error {
			if f.Key == "unready" {
				return statemachine.NotYet(errors.New("not ready"))
			}
			return nil
		})},
		{Event: "closed", From: statemachine.In("away"), To: "over"},
	},
	Terminal: statemachine.In("over"),
})

// expect sets a timer for each event that it is told.
func expect(f *statemachine.Firing, _ *struct{}, events []statemachine.Event) error {
	for _, e := range events {
		f.At(e, time.Unix(1000, 0))
	}
	return nil
}

func (l *log) visit(key string, event statemachine.Event, sets ...statemachine.Event) *versioning.Record {
	c := versioning.Change{Machine: "order", Key: key, Event: event}
	if event == "came" || event == "stayed" || event == "returned" {
		c.Data = sets
	}
	return l.record(c)
}

func timerOf(key string, event statemachine.Event, armed int64) *versioning.Record {
	return versioning.TimerRecord(versioning.Entity{Machine: "order", Key: key}, versioning.Timer{Event: event, Version: armed, Due: time.Unix(1000, 0)})
}

func visitRules() map[string]versioning.Rules {
	return versioningtest.NewMemory(versioning.Rules{Machine: visit}).Rules()
}

// foldVisits folds records over a view of entity "a", or of none if known is nil.
func foldVisits(rules map[string]versioning.Rules, known *versioning.Known, parked []versioning.Parked, records ...*versioning.Record) *versioning.Plan {
	view := versioning.NewView(len(records))
	view.Parked = parked
	for _, r := range records {
		versioning.Prepare(rules, r)
		for i := range r.Changes {
			k, _ := view.Add(r.Entity(i))
			if known != nil && r.Changes[i].Key == "a" {
				k.Exists, k.Row, k.Messages, k.Entered, k.Rearmed = known.Exists, known.Row, known.Messages, known.Entered, known.Rearmed
			}
		}
	}
	return versioning.Fold(rules, view, records)
}

// TestVoidTimers checks which events of timers still happen, by what the batch does before and
// by what is known from the history.
func TestVoidTimers(t *testing.T) {
	t.Parallel()
	const ignored, applied = "ignored", "applied"
	here := func(version, entered int64) *versioning.Known {
		return &versioning.Known{Exists: true, Row: versioning.Row{State: "here", Version: version, Data: struct{}{}}, Entered: entered}
	}
	fired := func(k *versioning.Known, id string) *versioning.Known {
		k.Messages.Add(id, timerOf("a", "expired", 1).Digest(0))
		return k
	}
	replaced := func(k *versioning.Known, event statemachine.Event, version int64) *versioning.Known {
		k.Rearmed = map[statemachine.Event]int64{event: version}
		return k
	}
	var l log
	for name, c := range map[string]struct {
		known  *versioning.Known
		before []*versioning.Record
		timer  *versioning.Record
		want   string
	}{
		"at once":                             {here(1, 0), nil, timerOf("a", "expired", 1), applied},
		"it stayed, in the batch":             {here(1, 0), []*versioning.Record{l.visit("a", "stayed")}, timerOf("a", "expired", 1), applied},
		"it stayed, in the history":           {here(5, 0), nil, timerOf("a", "expired", 1), applied},
		"it entered before":                   {here(5, 3), nil, timerOf("a", "expired", 3), applied},
		"it left, in the batch":               {here(1, 0), []*versioning.Record{l.visit("a", "left")}, timerOf("a", "expired", 1), ignored},
		"it left, in the history":             {&versioning.Known{Exists: true, Row: versioning.Row{State: "away", Version: 2, Data: struct{}{}}, Entered: 2}, nil, timerOf("a", "expired", 1), ignored},
		"it came back, in the batch":          {here(1, 0), []*versioning.Record{l.visit("a", "left"), l.visit("a", "returned")}, timerOf("a", "expired", 1), ignored},
		"it came back, in the history":        {here(3, 3), nil, timerOf("a", "expired", 1), ignored},
		"the timer of coming back":            {here(1, 0), []*versioning.Record{l.visit("a", "left"), l.visit("a", "returned")}, timerOf("a", "expired", 3), applied},
		"replaced, in the batch":              {here(1, 0), []*versioning.Record{l.visit("a", "stayed", "expired")}, timerOf("a", "expired", 1), ignored},
		"another one replaced, in the batch":  {here(1, 0), []*versioning.Record{l.visit("a", "stayed", "checked")}, timerOf("a", "expired", 1), applied},
		"replaced, in the history":            {replaced(here(2, 0), "expired", 2), nil, timerOf("a", "expired", 1), ignored},
		"another one replaced":                {replaced(here(2, 0), "checked", 2), nil, timerOf("a", "expired", 1), applied},
		"the one that replaced it":            {replaced(here(2, 0), "expired", 2), nil, timerOf("a", "expired", 2), applied},
		"the row is gone":                     {&versioning.Known{Row: versioning.Row{State: "here", Version: 1, Gone: true}}, nil, timerOf("a", "expired", 1), ignored},
		"there never was a row":               {nil, nil, timerOf("a", "expired", 1), ignored},
		"the row was reset":                   {here(1, 0), nil, timerOf("a", "expired", 2), ignored},
		"fired before":                        {fired(here(1, 0), "pawl.timer/1/expired"), nil, timerOf("a", "expired", 1), "duplicate"},
		"fired before, and left":              {fired(here(5, 5), "pawl.timer/1/expired"), nil, timerOf("a", "expired", 1), "duplicate"},
		"twice in the batch":                  {here(1, 0), []*versioning.Record{timerOf("a", "expired", 1)}, timerOf("a", "expired", 1), "duplicate"},
		"an event that the machine never had": {here(1, 0), nil, timerOf("a", "vanished", 1), "rejected unknown_event"},
		"the same, but void":                  {here(3, 3), nil, timerOf("a", "vanished", 1), ignored},
		"an event not legal here":             {here(1, 0), nil, timerOf("a", "closed", 1), "early not_yet"},
	} {
		plan := foldVisits(visitRules(), c.known, nil, append(c.before, c.timer)...)
		if got := verdicts(plan.Outcomes)[len(c.before)]; got != c.want {
			t.Errorf("%s: %s, want %s: %s", name, got, c.want, plan.Outcomes[len(c.before)].Detail)
		}
	}
}

// TestTimersByIdentity checks that the event of a timer happens once whatever the identity of the
// machine is.
func TestTimersByIdentity(t *testing.T) {
	t.Parallel()
	once := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "came", To: "here"},
			{Event: "expired", From: statemachine.In("here"), To: "over", After: time.Hour},
		},
		Terminal: statemachine.In("over"),
	})
	for _, identity := range []versioning.Identity{versioning.ByMessage, versioning.ByVersion, versioning.ByState} {
		rules := map[string]versioning.Rules{"order": {Machine: once, Identity: identity}}
		known := &versioning.Known{Exists: true, Row: versioning.Row{State: "here", Version: 1}}
		plan := foldVisits(rules, known, nil, timerOf("a", "expired", 1), timerOf("a", "expired", 1))
		if diff := cmp.Diff([]string{"applied", "duplicate"}, verdicts(plan.Outcomes)); diff != "" {
			t.Errorf("%v (-want, +got):\n%s", identity, diff)
		}
	}
}

// TestParkedTimers checks that the event of a timer that waits happens when the entity moves, unless
// the move makes it void.
func TestParkedTimers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		waits, move statemachine.Event
		want        string
	}{
		{"checked", "stayed", "applied"},
		{"closed", "left", "ignored"}, // it would be legal now, but the state is another one
	} {
		var l log
		waits := timerOf("a", c.waits, 1)
		rules := visitRules()
		versioning.Prepare(rules, waits)
		parked := []versioning.Parked{{Record: waits, Entity: waits.Entity(0), Reason: versioning.ReasonNotYet, Seen: 1}}
		known := &versioning.Known{Exists: true, Row: versioning.Row{State: "here", Version: 1, Data: struct{}{}}}
		plan := foldVisits(rules, known, parked, l.visit("a", c.move))
		if len(plan.Release) != 1 || plan.Release[0].Outcome.Verdict.String() != c.want {
			t.Errorf("%q after %q: released %+v, want %s", c.waits, c.move, plan.Release, c.want)
		}
	}
	plan := foldVisits(visitRules(), nil, nil, (&log{}).visit("unready", "came"), timerOf("unready", "checked", 1))
	if got := verdicts(plan.Outcomes); got[1] != "early not_yet" || len(plan.Park) != 1 || plan.Park[0].Record.Changes[0].Armed != 1 {
		t.Errorf("%v, parked %+v", got, plan.Park)
	}
}

// TestTimersWithOthers checks a record in which the event of a void timer is one of several
// changes: it asks for nothing, and the others happen.
func TestTimersWithOthers(t *testing.T) {
	t.Parallel()
	var l log
	both := l.record(
		versioning.Change{Machine: "order", Key: "a", Event: "expired", MessageID: "x", Armed: 1},
		versioning.Change{Machine: "order", Key: "a", Event: "left"},
		versioning.Change{Machine: "order", Key: "a", Event: "expired", MessageID: "y", Armed: 3})
	known := &versioning.Known{Exists: true, Row: versioning.Row{State: "here", Version: 3, Data: struct{}{}}, Entered: 3}
	plan := foldVisits(visitRules(), known, nil, both)
	if plan.Outcomes[0].Verdict != versioning.Applied || len(plan.Moves) != 1 || len(plan.Moves[0].Steps) != 1 || plan.Moves[0].Steps[0].Event != "left" {
		t.Errorf("%v, moves %+v", verdicts(plan.Outcomes), plan.Moves)
	}
}

// TestMoveTimers checks which timers a move arms.
func TestMoveTimers(t *testing.T) {
	t.Parallel()
	now := time.Unix(5000, 0)
	for name, c := range map[string]struct {
		from  *versioning.Known
		steps []*versioning.Record
		want  []string
	}{
		"it enters":                     {nil, []*versioning.Record{(&log{}).visit("a", "came")}, []string{"expired 1 8600"}},
		"it enters, and an action sets": {nil, []*versioning.Record{(&log{}).visit("a", "came", "checked")}, []string{"expired 1 8600", "checked 1 1000"}},
		"an action sets the deadline":   {nil, []*versioning.Record{(&log{}).visit("a", "came", "expired")}, []string{"expired 1 1000"}},
		"an action sets it twice":       {nil, []*versioning.Record{(&log{}).visit("a", "came", "expired", "expired")}, []string{"expired 1 1000"}},
		"it enters and stays":           {nil, two("came", "stayed"), []string{"expired 1 8600"}},
		"it enters and leaves":          {nil, two("came", "left"), nil},
		"it enters, stays, and sets":    {nil, []*versioning.Record{(&log{}).visit("a", "came"), (&log{next: 1}).visit("a", "stayed", "checked")}, []string{"expired 1 8600", "checked 2 1000"}},
		"it stays":                      {&versioning.Known{}, []*versioning.Record{(&log{}).visit("a", "stayed")}, nil},
		"it stays, and an action sets":  {&versioning.Known{}, []*versioning.Record{(&log{}).visit("a", "stayed", "expired")}, []string{"expired 8 1000 replaces"}},
		"it stays, sets, and leaves":    {&versioning.Known{}, []*versioning.Record{(&log{}).visit("a", "stayed", "expired"), (&log{next: 1}).visit("a", "left")}, nil},
		"it leaves and comes back":      {&versioning.Known{}, two("left", "returned"), []string{"expired 9 8600"}},
		"what was set before it came back": {
			&versioning.Known{},
			[]*versioning.Record{(&log{}).visit("a", "stayed", "checked"), (&log{next: 1}).visit("a", "left"), (&log{next: 2}).visit("a", "returned")},
			[]string{"expired 10 8600"},
		},
	} {
		if c.from != nil {
			*c.from = versioning.Known{Exists: true, Row: versioning.Row{State: "here", Version: 7, Data: struct{}{}}}
		}
		plan := foldVisits(visitRules(), c.from, nil, c.steps...)
		if n := len(plan.Moves); n != 1 {
			t.Errorf("%s: %d moves, %v", name, n, verdicts(plan.Outcomes))
			continue
		}
		var got []string
		for _, timer := range plan.Moves[0].Timers(visit, now) {
			text := fmt.Sprintf("%s %d %d", timer.Event, timer.Version, timer.Due.Unix())
			if timer.Replaces {
				text += " replaces"
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: timers (-want, +got):\n%s", name, diff)
		}
	}
}

func two(first, second statemachine.Event) []*versioning.Record {
	return []*versioning.Record{(&log{}).visit("a", first), (&log{next: 1}).visit("a", second)}
}

// TestTimerModel lets entities come, stay, leave and fire in random batches, and compares with
// a model that knows of each timer whether it holds: what the fold needs to know about the past
// is taken from a store in memory.
func TestTimerModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		store := versioningtest.NewMemory(versioning.Rules{Machine: visit})
		type armed struct {
			key     string
			event   statemachine.Event
			version int64
		}
		version, state := make(map[string]int64), make(map[string]statemachine.State)
		holds := make(map[armed]bool)
		arm := func(a armed) {
			for old := range holds {
				if old.key == a.key && old.event == a.event {
					delete(holds, old)
				}
			}
			holds[a] = true
		}
		fired := make(map[armed]bool)
		enter := func(key string, s statemachine.State) {
			maps.DeleteFunc(holds, func(a armed, _ bool) bool { return a.key == key })
			if state[key] = s; s == "here" {
				arm(armed{key, "expired", version[key]})
			}
		}
		var l log
		for range rapid.IntRange(1, 8).Draw(t, "batches") {
			var records []*versioning.Record
			var want []string
			all := store.Timers() // those that can fire, also several times
			for range rapid.IntRange(1, 6).Draw(t, "records") {
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				if len(all) > 0 && rapid.Bool().Draw(t, "fires") {
					timer := rapid.SampledFrom(all).Draw(t, "timer")
					a := armed{timer.Entity.Key, timer.Event, timer.Version}
					records = append(records, timerOf(a.key, a.event, a.version))
					switch {
					case fired[a]:
						want = append(want, "duplicate")
					case !holds[a]:
						want = append(want, "ignored")
					default:
						want, fired[a] = append(want, "applied"), true
						version[a.key]++
						if a.event == "expired" {
							enter(a.key, "over")
						}
					}
					continue
				}
				next := map[statemachine.State][]statemachine.Event{"": {"came"}, "here": {"stayed", "left"}, "away": {"returned"}}[state[key]]
				if len(next) == 0 {
					continue
				}
				event := rapid.SampledFrom(next).Draw(t, "event")
				sets := rapid.SliceOfNDistinct(rapid.SampledFrom([]statemachine.Event{"expired", "checked"}), 0, 2, rapid.ID).Draw(t, "sets")
				version[key]++
				switch event {
				case "left":
					sets = nil
					enter(key, "away")
				case "came", "returned":
					enter(key, "here")
				}
				for _, e := range sets {
					arm(armed{key, e, version[key]})
				}
				records, want = append(records, l.visit(key, event, sets...)), append(want, "applied")
			}
			for _, r := range records {
				store.Prepare(r)
			}
			result, err := store.Apply(t.Context(), "", records)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, append([]string(nil), verdicts(result.Outcomes)...)); diff != "" {
				t.Fatalf("verdicts (-want, +got):\n%s", diff)
			}
		}
	})
}
