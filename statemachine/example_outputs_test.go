package statemachine_test

import (
	"fmt"
	"time"

	"github.com/pawl-go/pawl/statemachine"
)

// A subscription that is not renewed expires a month after it began, at the same time of day
// in its own zone. Five minutes later, it is closed for good.
func ExampleMachine_Deadlines() {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		fmt.Println(err)
		return
	}
	subscription := statemachine.MustCompile(statemachine.Definition{
		Name: "subscription", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "began", To: "active"},
			{Event: "expired", From: statemachine.In("active"), To: "expired", AfterPeriod: statemachine.Period{Months: 1, Zone: berlin}, Clock: statemachine.RecordClock},
			{Event: "renewed", From: statemachine.In("active", "expired"), To: "active"},
			{Event: "closed", From: statemachine.In("expired"), To: "closed", After: 5 * time.Minute},
		},
		Terminal: statemachine.In("closed"),
	})
	fmt.Println("any:", subscription.HasDeadlines())
	began := time.Date(2026, 2, 28, 12, 0, 0, 0, berlin)
	for _, state := range []statemachine.State{"active", "expired"} {
		for _, d := range subscription.Deadlines(state) {
			fmt.Printf("%s: %s after %s by the %s's clock: %s\n", state, d.Event, d.String(), d.Clock, d.Due(began).Format(time.RFC3339))
		}
	}
	fmt.Println("a timer can have it happen:", subscription.TakesNoData("renewed"))
	// Output:
	// any: true
	// active: expired after 1 month (Europe/Berlin) by the record's clock: 2026-03-28T12:00:00+01:00
	// expired: closed after 5m0s by the database's clock: 2026-02-28T12:05:00+01:00
	// a timer can have it happen: true
}

// A day is 23 hours long when clocks are set forward. A month ends with its last day.
func ExamplePeriod_After() {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		fmt.Println(err)
		return
	}
	day := statemachine.Period{Days: 1, Zone: newYork}
	saturday := time.Date(2026, 3, 7, 9, 0, 0, 0, newYork)
	fmt.Println(day, "after", saturday, "is", day.After(saturday).Sub(saturday))
	month := statemachine.Period{Months: 1}
	fmt.Println(month, month.After(time.Date(2028, 1, 31, 0, 0, 0, 0, time.UTC)).Format(time.DateOnly), month.IsZero())
	// Output:
	// 1 day (America/New_York) after 2026-03-07 09:00:00 -0500 EST is 23h0m0s
	// 1 month 2028-02-29 false
}

// An action says what its transition causes. The store sees to it, once the transition is
// committed. Actions can be tested without a store.
func ExampleFiring_At() {
	type lease struct{}
	type request struct{ Until time.Time }
	take := func(f *statemachine.Firing, _ *lease, r request) error {
		f.Emit("leases", map[string]string{"taken": f.Key})
		f.EmitMessage(statemachine.Message{Topic: "audit", Value: []byte("taken"), Headers: []statemachine.Header{{Key: "by", Value: []byte("pawl")}}})
		f.Enqueue("print a label")
		f.At("lapsed", r.Until)
		return nil
	}
	firing := &statemachine.Firing{Key: "42"}
	if err := take(firing, &lease{}, request{Until: time.Date(2026, 3, 1, 18, 0, 0, 0, time.UTC)}); err != nil {
		fmt.Println(err)
		return
	}
	out := firing.Outputs()
	for _, m := range out.Messages {
		fmt.Printf("to %s: %s\n", m.Topic, m.Value)
	}
	fmt.Println(out.Jobs)
	fmt.Println(out.Timers[0].Event, out.Timers[0].At)
	// Output:
	// to leases: map[taken:42]
	// to audit: taken
	// [print a label]
	// lapsed 2026-03-01 18:00:00 +0000 UTC
}
