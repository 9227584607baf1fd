package versioning_test

import (
	"slices"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// newerOrder is the next version of order: it has one more state.
func newerOrder() *statemachine.Machine {
	d := order.Definition()
	d.Version = 2
	d.Transitions = append(d.Transitions,
		statemachine.Transition{Event: "held", From: statemachine.In("pending"), To: "held"},
		statemachine.Transition{Event: "noted", From: statemachine.In("held"), To: "held"},
		statemachine.Transition{Event: "cancelled", From: statemachine.In("held"), To: "cancelled"})
	return statemachine.MustCompile(d)
}

// viewOf returns a view of orders in a state, at version 1.
func viewOf(state statemachine.State, keys ...string) *versioning.View {
	view := versioning.NewView(0)
	for _, key := range keys {
		k, _ := view.Add(versioning.Entity{Machine: "order", Key: key})
		k.Exists, k.Row = true, versioning.Row{State: state, Version: 1}
	}
	return view
}

func prepared(rules map[string]versioning.Rules, r *versioning.Record) *versioning.Record {
	versioning.Prepare(rules, r)
	return r
}

// both returns a record about the orders a and b.
func (l *log) both(event statemachine.Event) *versioning.Record {
	return l.record(versioning.Change{Machine: "order", Key: "a", Event: event}, versioning.Change{Machine: "order", Key: "b", Event: event})
}

func park(view *versioning.View, key string, reason versioning.Reason, definition int, r *versioning.Record) {
	view.Parked = append(view.Parked, versioning.Parked{
		Record: r, Entity: versioning.Entity{Machine: "order", Key: key}, Reason: reason, Seen: 1, Definition: definition,
	})
}

func released(plan *versioning.Plan) (events []string) {
	for _, s := range plan.Release {
		events = append(events, string(s.Record.Changes[0].Event)+" "+s.Outcome.Verdict.String())
	}
	return events
}

// TestOtherVersionParked checks that a record about two entities, which another version of the
// machine has parked for one of them, does not overtake what that version has parked for the
// other one.
func TestOtherVersionParked(t *testing.T) {
	t.Parallel()
	rules := map[string]versioning.Rules{"order": {Machine: newerOrder()}}
	var l log
	view := viewOf("held", "a", "b")
	park(view, "b", versioning.ReasonUnknownState, 1, prepared(rules, l.say("b", "noted")))
	park(view, "a", versioning.ReasonUnknownState, 1, prepared(rules, l.both("cancelled")))
	want := []string{"noted applied", "cancelled applied"}
	if got := released(versioning.Refold(rules, view)); !slices.Equal(got, want) {
		t.Errorf("Refold releases %q; want %q", got, want)
	}
	plan := versioning.Fold(rules, view, []*versioning.Record{prepared(rules, l.say("a", "noted"))})
	if got := released(plan); !slices.Equal(got, want) || plan.Outcomes[0].Verdict != versioning.Rejected {
		t.Errorf("Fold releases %q, and %v", got, verdicts(plan.Outcomes))
	}
}

// TestNewerVersionParked checks that an older version judges what a newer one has parked, before
// it judges a later record.
func TestNewerVersionParked(t *testing.T) {
	t.Parallel()
	rules := map[string]versioning.Rules{"order": {Machine: order, Newer: []statemachine.Outline{newerOrder().Outline()}}}
	var l log
	view := viewOf("pending", "a", "b")
	park(view, "a", versioning.ReasonNotYet, 2, prepared(rules, l.both("noted")))
	plan := versioning.Fold(rules, view, []*versioning.Record{prepared(rules, l.both("cancelled"))})
	if got := released(plan); !slices.Equal(got, []string{"noted applied"}) || plan.Outcomes[0].Verdict != versioning.Applied {
		t.Errorf("Fold releases %q, and %v", got, verdicts(plan.Outcomes))
	}
}

// TestMovedBesideParked is as TestOtherVersionParked, if the other entity has moved without its
// parked record being judged: another worker moved it at the moment when the record was parked.
func TestMovedBesideParked(t *testing.T) {
	t.Parallel()
	rules := map[string]versioning.Rules{"order": {Machine: order}}
	var l log
	view := viewOf("pending", "a", "b")
	park(view, "a", versioning.ReasonNotYet, 1, prepared(rules, l.say("a", "shipped")))
	park(view, "b", versioning.ReasonNotYet, 1, prepared(rules, l.say("b", "noted")))
	park(view, "a", versioning.ReasonNotYet, 1, prepared(rules, l.both("cancelled")))
	for i := range view.Parked {
		view.Parked[i].Seen = 0
	}
	want := []string{"noted applied", "cancelled applied", "shipped rejected"}
	if got := released(versioning.Refold(rules, view)); !slices.Equal(got, want) {
		t.Errorf("Refold releases %q; want %q", got, want)
	}
}

// TestTimerInRetiredState checks that a timer which an older version has armed in a state that is
// retired now waits until the entity is migrated, also if its event is gone. Then it is void.
func TestTimerInRetiredState(t *testing.T) {
	t.Parallel()
	d := order.Definition()
	d.Version = 3
	d.Migrations = []statemachine.Migration{{From: statemachine.In("held"), To: "pending"}}
	rules := map[string]versioning.Rules{"order": {Machine: statemachine.MustCompile(d)}}
	for _, event := range []statemachine.Event{"shipped", "reminded"} {
		view := viewOf("held", "a")
		timer := prepared(rules, versioning.TimerRecord(versioning.Entity{Machine: "order", Key: "a"}, versioning.Timer{Event: event, Version: 1}))
		plan := versioning.Fold(rules, view, []*versioning.Record{timer})
		if got := verdicts(plan.Outcomes); !slices.Equal(got, []string{"early not_yet"}) {
			t.Fatalf("timer for %s: %q", event, got)
		}
		view.Parked = plan.Park
		migration := &versioning.Record{Direct: true, Changes: []versioning.Change{{Machine: "order", Key: "a", Event: statemachine.Migrated}}}
		plan = versioning.Fold(rules, view, []*versioning.Record{prepared(rules, migration)})
		if len(plan.Release) != 1 || plan.Release[0].Outcome.Verdict != versioning.Ignored || plan.Outcomes[0].Verdict != versioning.Applied {
			t.Errorf("timer for %s: %q, releases %+v", event, verdicts(plan.Outcomes), plan.Release)
		}
	}
}

// TestMaxParkedForDefinitions checks that records which wait for a newer version, or until their
// entity is migrated, do not become dead letters at once when many of them wait.
func TestMaxParkedForDefinitions(t *testing.T) {
	t.Parallel()
	d := order.Definition()
	d.Migrations = []statemachine.Migration{{From: statemachine.In("retired"), To: "pending"}}
	rules := map[string]versioning.Rules{"order": {
		Machine: statemachine.MustCompile(d), Newer: []statemachine.Outline{newerOrder().Outline()}, MaxParked: 2,
	}}
	for state, event := range map[statemachine.State]statemachine.Event{"pending": "held", "held": "noted", "retired": "captured"} {
		var l log
		var records []*versioning.Record
		for range 201 {
			records = append(records, prepared(rules, l.say("a", event)))
		}
		plan := versioning.Fold(rules, viewOf(state, "a"), records)
		if len(plan.Park) != 200 || plan.Outcomes[200].Reason != versioning.ReasonTooManyParked {
			t.Errorf("%s in state %s: %d records are parked, and %v", event, state, len(plan.Park), plan.Outcomes[200])
		}
	}
	var l log
	plan := versioning.Fold(rules, viewOf("pending", "a"), []*versioning.Record{
		prepared(rules, l.say("a", "shipped")), prepared(rules, l.say("a", "shipped")), prepared(rules, l.say("a", "shipped")),
	})
	if got := verdicts(plan.Outcomes); !slices.Equal(got, []string{"early not_yet", "early not_yet", "rejected too_many_parked"}) {
		t.Errorf("for another reason: %q", got)
	}
}
