package versioningtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

var payment = versioning.Rules{Machine: statemachine.MustCompile(statemachine.Definition{
	Name: "payment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "authorized", To: "open"},
		{Event: "captured", From: statemachine.In("open"), To: "captured"},
		{Event: "voided", From: statemachine.In("open"), To: "voided"},
	},
	Terminal: statemachine.In("captured", "voided"),
})}

// asked returns a record with one change.
func asked(offset int64, key string, event statemachine.Event) *versioning.Record {
	return &versioning.Record{
		Origin:  versioning.Origin{Topic: "payments", Offset: offset},
		Changes: []versioning.Change{{Key: key, Event: event}},
	}
}

// apply does what a worker does, and prints the verdicts.
func apply(store *versioningtest.Memory, records ...*versioning.Record) {
	for _, r := range records {
		store.Prepare(r)
	}
	result, err := store.Apply(context.Background(), "", records)
	if err != nil {
		fmt.Println(err)
	}
	for i, o := range result.Outcomes {
		fmt.Println(records[i].Origin, o.Event, o.Verdict)
	}
	for _, s := range result.Released {
		fmt.Println(s.Record.Origin, s.Outcome.Event, s.Outcome.Verdict, "now")
	}
}

// A test gives records to a store in memory and inspects it.
func ExampleMemory() {
	store := versioningtest.NewMemory(payment)
	records := []*versioning.Record{
		asked(0, "p1", "authorized"),
		asked(1, "p1", "captured"),
		asked(2, "p2", "captured"),
		asked(3, "p1", "voided"),
	}
	for _, r := range records {
		store.Prepare(r)
	}
	if _, err := store.Apply(context.Background(), "", records); err != nil {
		fmt.Println(err)
		return
	}

	p1 := versioning.Entity{Machine: "payment", Key: "p1"}
	if row, ok := store.Row(p1); ok {
		fmt.Printf("p1 is %s, version %d\n", row.State, row.Version)
	}
	for _, t := range store.History(p1) {
		fmt.Printf("%d: %s by %v\n", t.Version, t.Event, t.Origin)
	}
	for _, p := range store.Parked() {
		fmt.Println("parked:", p.Origin, p.Entity, p.Reason)
	}
	for _, d := range store.DeadLetters() {
		fmt.Println("dead letter:", d.Origin, d.Outcome.Entity, d.Outcome.Reason)
	}
	fmt.Println("rows:", len(store.Rows()))
	// Output:
	// p1 is captured, version 2
	// 1: authorized by payments/0@0
	// 2: captured by payments/0@1
	// parked: payments/0@2 payment/p2 no_entity
	// dead letter: payments/0@3 payment/p1 illegal
	// rows: 1
}

// A test can make batches fail: before anything is written, or after the COMMIT. Either
// way the worker applies the batch again.
// The rules of a store are those that the fold takes.
func ExampleMemory_Rules() {
	store := versioningtest.NewMemory(payment)
	r := asked(0, "p1", "authorized")
	store.Prepare(r)
	plan := versioning.Fold(store.Rules(), versioning.NewView(0), []*versioning.Record{r})
	fmt.Println(plan.Outcomes[0].Verdict)
	// Output: applied
}

func ExampleMemory_Before() {
	store := versioningtest.NewMemory(payment)
	store.Before(func(context.Context, []*versioning.Record) error {
		return errors.New("no connection")
	})
	apply(store, asked(0, "p1", "authorized"))

	store.Before(nil)
	store.After(func(context.Context, versioning.Result) error {
		return errors.New("connection lost after COMMIT")
	})
	apply(store, asked(0, "p1", "authorized"))

	store.After(nil)
	apply(store, asked(0, "p1", "authorized"))
	// Output:
	// no connection
	// connection lost after COMMIT
	// payments/0@0 authorized duplicate
}

// Another writer voids the payment after the store has read it and before it writes. The
// store decides again.
func ExampleMemory_Between() {
	store := versioningtest.NewMemory(payment)
	apply(store, asked(0, "p1", "authorized"))

	store.Between(func(_ context.Context, plan *versioning.Plan) error {
		fmt.Println("planned:", plan.Outcomes[0].Verdict)
		store.Put(plan.Moves[0].Entity, versioningtest.Row{State: "voided", Version: 2})
		return nil
	})
	apply(store, asked(1, "p1", "captured"))
	// Output:
	// payments/0@0 authorized applied
	// planned: applied
	// payments/0@1 captured rejected
}

// Put makes a row that the application wrote, without history. Delete removes one.
func ExampleMemory_Put() {
	store := versioningtest.NewMemory(payment)
	p1 := versioning.Entity{Machine: "payment", Key: "p1"}
	store.Put(p1, versioningtest.Row{State: "open", Version: 1})
	apply(store, asked(0, "p1", "captured"))

	store.Delete(p1)
	apply(store, asked(1, "p1", "authorized"))
	fmt.Println(store.DeadLetters()[0].Outcome.Reason)
	// Output:
	// payments/0@0 captured applied
	// payments/0@1 authorized rejected
	// entity_gone
}

// Another application adds a note to a payment between reading and writing.
func ExampleMemory_Update() {
	store := versioningtest.NewMemory(payment)
	p1 := versioning.Entity{Machine: "payment", Key: "p1"}
	apply(store, asked(0, "p1", "authorized"))
	store.Between(func(context.Context, *versioning.Plan) error {
		store.Update(p1, func(row *versioningtest.Row) { row.Columns["note"] = "seen" })
		return nil
	})
	apply(store, asked(1, "p1", "captured"))
	row, _ := store.Row(p1)
	fmt.Println(row.State, row.Version, row.Columns["note"])
	// Output:
	// payments/0@0 authorized applied
	// payments/0@1 captured applied
	// captured 2 seen
}

// A store splits a batch into lists that can be applied concurrently. All records of a
// payment are in one list.
func ExampleMemory_Split() {
	store := versioningtest.NewMemory(payment)
	records := []*versioning.Record{
		asked(0, "p1", "authorized"),
		asked(1, "p2", "authorized"),
		asked(2, "p1", "captured"),
	}
	for _, r := range records {
		store.Prepare(r)
	}
	lists, index, err := store.Split(context.Background(), records, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	listOf := make(map[int]int)
	for list, of := range index {
		for _, i := range of {
			listOf[i] = list
		}
	}
	fmt.Println("at most 2 lists:", len(lists) <= 2)
	fmt.Println("all records of p1 in one list:", listOf[0] == listOf[2])
	// Output:
	// at most 2 lists: true
	// all records of p1 in one list: true
}

// A sweep applies a parked record whose payment another writer has created.
func ExampleMemory_Sweep() {
	store := versioningtest.NewMemory(payment)
	apply(store, asked(0, "p1", "captured"))

	store.Put(versioning.Entity{Machine: "payment", Key: "p1"}, versioningtest.Row{State: "open", Version: 1})
	swept, err := store.Sweep(context.Background(), versioning.Reading{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range swept.Released {
		fmt.Println(s.Record.Origin, s.Outcome.Event, s.Outcome.Verdict, "by the sweep")
	}
	// Output:
	// payments/0@0 captured early
	// payments/0@0 captured applied by the sweep
}

// An older worker keeps what only a newer version of the machine can apply.
func ExampleMemory_Define() {
	definition := payment.Machine.Definition()
	definition.Version = 2
	definition.Transitions = append(definition.Transitions,
		statemachine.Transition{Event: "disputed", From: statemachine.In("open"), To: "voided"})
	newer := versioning.Rules{Machine: statemachine.MustCompile(definition)}

	store := versioningtest.NewMemory(newer)
	store.Define(payment) // an old worker, after the first new one has started
	apply(store, asked(0, "p1", "authorized"), asked(1, "p1", "disputed"))
	store.Define(newer)
	swept, err := store.Sweep(context.Background(), versioning.Reading{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range swept.Released {
		fmt.Println(s.Record.Origin, s.Outcome.Event, s.Outcome.Verdict, "now")
	}
	// Output:
	// payments/0@0 authorized applied
	// payments/0@1 disputed early
	// payments/0@1 disputed applied now
}

// A failover or a restored backup loses commits. The marks say from where to read again.
func ExampleMemory_Restore() {
	ctx := context.Background()
	store := versioningtest.NewMemory(payment)
	topics := [][16]byte{{}}
	_, server, err := store.Marks(ctx, "workers", topics)
	if err != nil {
		fmt.Println(err)
		return
	}
	settled := func(offset, last int64) error {
		mark := versioning.Mark{Topic: "payments", Offset: offset, Last: last}
		return store.SetMarks(ctx, "workers", server, []versioning.Mark{mark})
	}

	apply(store, asked(0, "p1", "authorized"))
	fmt.Println(settled(1, 0))
	backup := store.Backup()
	apply(store, asked(1, "p1", "captured"))
	fmt.Println(settled(2, 1))

	before := store.Restore(backup)
	fmt.Println(errors.Is(settled(3, 2), versioning.ErrServerChanged))
	after, _, err := store.Marks(ctx, "workers", topics)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("settled up to %d before, and up to %d now\n", before[0].Offset, after[0].Offset)
	apply(store, asked(0, "p1", "authorized"), asked(1, "p1", "captured"))
	// Output:
	// payments/0@0 authorized applied
	// <nil>
	// payments/0@1 captured applied
	// <nil>
	// true
	// settled up to 2 before, and up to 1 now
	// payments/0@0 authorized duplicate
	// payments/0@1 captured applied
}

// A store of your own passes the suite in a test like this one.
func ExampleRun() { //nolint:testableexamples // the suite needs a test
	_ = func(t *testing.T) { // TestStore
		versioningtest.Run(t, func(_ *testing.T, rules []versioning.Rules) versioningtest.Harness {
			store := versioningtest.NewMemory(rules...) // instead: an empty store of yours
			return versioningtest.Harness{Store: store, Contents: store}
		})
	}
}

// A test of a handler gives it a store in memory.
func ExampleMemory_Do() {
	ctx := context.Background()
	store := versioningtest.NewMemory(payment)
	for _, event := range []statemachine.Event{"captured", "authorized", "captured"} {
		outcome, err := store.Do(ctx, versioning.Change{Key: "p1", Event: event})
		fmt.Println(event, outcome.Verdict, err)
	}
	fmt.Println(len(store.Parked()), "parked")
	// Output:
	// captured early <nil>
	// authorized applied <nil>
	// captured applied <nil>
	// 0 parked
}

// What can't be made of delivered changes is kept, once.
func ExampleMemory_Deliver() {
	store := versioningtest.NewMemory(payment)
	for range 2 {
		outcome, err := store.Deliver(context.Background(), versioning.Change{Key: "p1", Event: "captured", MessageID: "job 1"})
		fmt.Println(outcome.Verdict, outcome.Reason, err)
	}
	fmt.Println("parked:", len(store.Parked()))
	apply(store, asked(0, "p1", "authorized"))
	fmt.Println("parked:", len(store.Parked()))
	// Output:
	// early no_entity <nil>
	// early no_entity <nil>
	// parked: 1
	// payments/0@0 authorized applied
	// pawl.deliveries/315686339@4176930381664368749 captured applied now
	// parked: 0
}
