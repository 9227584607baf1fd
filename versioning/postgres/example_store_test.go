package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// After a bug in the decode function is fixed, its dead letters can be redriven: first dry,
// then for good.
func ExampleStore_DeadLetters() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	r := &versioning.Record{
		Origin: versioning.Origin{Topic: "orders", Offset: 7},
		Key:    []byte("42"), Value: []byte("placed"),
	}
	r.Decode(func(*versioning.Record) ([]versioning.Change, error) { return nil, errors.New("not JSON") })
	settle(ctx, store, r)

	letters, err := store.DeadLetters(ctx, postgres.DeadLetterFilter{Topic: "orders", Reason: versioning.ReasonUndecodable})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range letters {
		fmt.Printf("%s %q: %s\n", d.Record.Origin, d.Record.Value, d.Outcome.Detail)
	}
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: string(r.Key), Event: statemachine.Event(r.Value)}}, nil
	}
	outcomes, err := store.DryRedrive(ctx, letters, decode)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("would be", outcomes[0].Verdict)
	if outcomes, err = store.Redrive(ctx, letters, decode); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("is", outcomes[0].Verdict)
	letters, err = store.DeadLetters(ctx, postgres.DeadLetterFilter{})
	fmt.Println(len(letters), "left", err)
	// Output:
	// orders/0@7 rejected
	// orders/0@7 "placed": not JSON
	// would be applied
	// is applied
	// 0 left <nil>
}

// A handler makes a change and tells its client at once what has become of it. The client's
// key for the request is the message ID, so it may ask again.
func ExampleStore_Do() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	for _, request := range []struct {
		event statemachine.Event
		id    string
	}{{"placed", "r1"}, {"placed", "r1"}, {"cancelled", "r2"}, {"captured", "r3"}} {
		outcome, err := store.Do(ctx, versioning.Change{Key: "42", Event: request.event, MessageID: request.id})
		switch {
		case errors.Is(err, versioning.ErrFateUnknown):
			fmt.Println(503, "ask again with the same key")
		case err != nil:
			fmt.Println(503, err)
		case outcome.Verdict <= versioning.Applied:
			fmt.Println(200, outcome.Verdict)
		default:
			fmt.Println(409, outcome.Verdict, outcome.Detail)
		}
	}
	// Output:
	// 200 applied
	// 200 duplicate
	// 200 applied
	// 409 rejected "captured" is not legal in state "cancelled", nor in any later state
}

// The result of a job must not be lost. What can't be made of it is kept, and can be redriven.
func ExampleStore_Deliver() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	for _, result := range []versioning.Change{
		{Key: "42", Event: "captured", MessageID: "job 1"}, // the order comes later
		{Key: "42", Event: "captured", MessageID: "job 1"}, // the job has run twice
		{Key: "42", Event: "declined", MessageID: "job 2"},
	} {
		outcome, err := store.Deliver(ctx, result)
		if err != nil { // deliver it again later
			fmt.Println(err)
			return
		}
		fmt.Println(outcome.Verdict, outcome.Reason)
	}
	parked, err := store.Parked(ctx, postgres.ParkedFilter{})
	if err != nil {
		fmt.Println(err)
		return
	}
	letters, err := store.DeadLetters(ctx, postgres.DeadLetterFilter{Topic: versioning.DeliveryTopic})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(parked), "parked,", len(letters), "dead letter")
	// Output:
	// early no_entity
	// early no_entity
	// rejected unknown_event
	// 1 parked, 1 dead letter
}

// A payment that arrives before its order waits. A sweep finds that another program has
// created the order.
func ExampleStore_Parked() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: light, Name: "orders", ParkFor: 48 * time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	settle(ctx, store, asked(0, "42", "captured"))
	parked, err := store.Parked(ctx, postgres.ParkedFilter{Machine: "order", Key: "42"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range parked {
		fmt.Println(p.Record.Origin, "waits for", p.Entity, "because of", p.Reason)
	}

	if _, err := pool.Exec(ctx, `INSERT INTO orders VALUES ('42', 'pending', 1)`); err != nil {
		fmt.Println(err)
		return
	}
	swept, err := store.Sweep(ctx, versioning.Reading{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range swept.Released {
		fmt.Println(s.Record.Origin, s.Outcome.Verdict)
	}
	// Output:
	// orders/0@0 early
	// orders/0@0 waits for order/42 because of no_entity
	// orders/0@0 applied
}

// A program can copy dead letters to where somebody sees them. The store keeps the dead
// letters, and remembers which of them were copied.
func ExampleStore_CopyDeadLetters() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	settle(ctx, store, asked(0, "42", "lost"), asked(1, "43", "lost"))

	send := func(_ context.Context, letters []versioning.DeadLetter) (copied []int64, err error) {
		for _, d := range letters {
			fmt.Println("tell somebody about", d.Record.Origin, d.Outcome.Reason)
			copied = append(copied, d.ID)
		}
		return copied, nil
	}
	for {
		n, err := store.CopyDeadLetters(ctx, map[string][]int32{"orders": {0}}, 100, send)
		if err != nil {
			fmt.Println(err)
			return
		}
		if n == 0 {
			break
		}
		fmt.Println("copied:", n)
	}
	// Output:
	// orders/0@0 rejected
	// orders/0@1 rejected
	// tell somebody about orders/0@0 unknown_event
	// tell somebody about orders/0@1 unknown_event
	// copied: 2
}

// A large batch is applied in concurrent transactions. The records of an order are in one
// list, in their order.
func ExampleStore_Split() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	var records []*versioning.Record
	for i := range 100 {
		key := fmt.Sprint(i % 50)
		event := []statemachine.Event{"placed", "captured"}[i/50]
		r := asked(int64(i), key, event)
		store.Prepare(r)
		records = append(records, r)
	}
	lists, index, err := store.Split(ctx, records, 4)
	if err != nil {
		fmt.Println(err)
		return
	}

	outcomes := make([]versioning.Outcome, len(records))
	errs := make([]error, len(lists))
	var group sync.WaitGroup
	for i, list := range lists {
		group.Go(func() {
			result, err := store.Apply(ctx, "", list)
			for j, o := range result.Outcomes {
				outcomes[index[i][j]] = o
			}
			errs[i] = err
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		fmt.Println(err)
		return
	}
	count := make(map[versioning.Verdict]int)
	for _, o := range outcomes {
		count[o.Verdict]++
	}
	fmt.Println(count)
	// Output: map[applied:100]
}

// A program that reads a log without package consumer keeps marks. They tell it from where
// to read, also if the database has lost commits.
func ExampleStore_Marks() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	topic := [16]byte{1} // its UUID
	from := func() (offset int64, server versioning.Server) {
		marks, server, err := store.Marks(ctx, "importer", [][16]byte{topic})
		if err != nil {
			fmt.Println(err)
		}
		for _, m := range marks {
			offset = m.Offset
		}
		fmt.Println("read from offset", offset)
		return offset, server
	}

	last, server := from()
	r := asked(last, "42", "placed")
	r.Origin.TopicID = topic
	store.Prepare(r)
	if _, err := store.Apply(ctx, server, []*versioning.Record{r}); err != nil {
		fmt.Println(err) // maybe versioning.ErrServerChanged: read the marks again
		return
	}
	mark := versioning.Mark{Topic: "orders", TopicID: topic, Offset: last + 1, Last: last}
	if err := store.SetMarks(ctx, "importer", server, []versioning.Mark{mark}); err != nil {
		fmt.Println(err)
		return
	}
	from()
	// Output:
	// read from offset 0
	// read from offset 1
}

// Stepwise shows which tables are written more slowly, and why.
func ExampleStore_Stepwise() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	for _, t := range store.Stepwise() {
		fmt.Println(t.Machine, t.Table)
		fmt.Println("always:", t.Always)
		fmt.Println("sometimes:", t.Sometimes)
	}
	// Output:
	// order orders
	// always: []
	// sometimes: [check orders_total_check]
}
