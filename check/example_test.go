package check_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A new version has no state "solved" any more, and forgets the tickets that are in it.
func ExampleRun() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres(withTickets)
	defer drop()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: ticket(1, nil), Name: "tickets"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, event := range []statemachine.Event{"opened", "solved"} {
		if _, err := store.Do(ctx, versioning.Change{Key: "42", Event: event}); err != nil {
			fmt.Println(err)
			return
		}
	}

	next := statemachine.MustCompile(statemachine.Definition{
		Name: "ticket", Version: 2,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "assigned", From: statemachine.In("open", "assigned"), To: "assigned"},
			{Event: "solved", From: statemachine.In("open", "assigned"), To: "closed"},
		},
		Terminal: statemachine.In("closed"),
	})
	report, err := check.Run(ctx, check.Config{
		Tables: []postgres.Table{{Machine: next, Name: "tickets"}}, Pool: pool, History: 1000,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(report)
	fmt.Println(check.ExitStatus(report.Err(false)))
	// Output:
	// ticket: from version 1 to 2
	//   stranding  state "solved" is gone: entities in it are stranded; declare a Migration from it, or keep the state
	//   changed    event "closed" is gone: a record with it that still arrives becomes a dead letter
	//   changed    event "reopened" is gone: a record with it that still arrives becomes a dead letter
	//   changed    event "solved" in state "assigned" leads to "closed", and led to "solved"
	//   changed    event "solved" in state "open" leads to "closed", and led to "solved"
	//   stranding  1 in state "solved" would be stranded, such as 42
	//   history    1 entities with 2 steps, of which 0 depend on data: 1 entities would have ended elsewhere, 0 in the same state in another way
	//              1 entities (1 ended elsewhere), such as 42 at version 2: "solved" in state "open" leads to "closed", and led to "solved"
	// not safe: entities would be stranded, or workers would refuse to start
	// 1
}

// CI keeps the definitions in a file, and needs no database.
func ExampleWrite() {
	var file bytes.Buffer
	if err := check.Write(&file, ticket(1, nil)); err != nil {
		fmt.Println(err)
		return
	}
	old, err := check.Read(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	next := ticket(2, func(d *statemachine.Definition) {
		d.Transitions = append(d.Transitions, statemachine.Transition{Event: "spam", From: statemachine.In("open"), To: "closed"})
	})
	report, err := check.Run(context.Background(), check.Config{Tables: []postgres.Table{{Machine: next, Name: "tickets"}}, Old: old})
	fmt.Print(report)
	fmt.Println(report.Err(true), err)
	// Output:
	// ticket: from version 1 to 2
	//   harmless   event "spam" is new
	// safe
	// <nil> <nil>
}

// A sample of the history can be kept in a file, for tests without a database.
func ExampleWriteHistory() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres(withTickets)
	defer drop()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	tables := []postgres.Table{{Machine: ticket(1, nil), Name: "tickets"}}
	store, err := postgres.Open(ctx, pool, tables...)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, event := range []statemachine.Event{"opened", "solved"} {
		if _, err := store.Do(ctx, versioning.Change{Key: "42", Event: event}); err != nil {
			fmt.Println(err)
			return
		}
	}

	reader, err := postgres.OpenReader(ctx, pool, "", tables...)
	if err != nil {
		fmt.Println(err)
		return
	}
	var file bytes.Buffer
	if err := check.WriteHistory(ctx, &file, reader, "ticket", 1000); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(&file)

	next := ticket(2, func(d *statemachine.Definition) {
		d.Transitions = append(d.Transitions, statemachine.Transition{Event: "spam", From: statemachine.In("open"), To: "closed"})
	})
	h, err := check.Fold(next, check.ReadHistory(&file, "ticket"))
	fmt.Println(h.Same(), h.Steps, err)
	// Output:
	// {"machine":"ticket","key":"42","version":1,"event":"opened","to":"open"}
	// {"machine":"ticket","key":"42","version":2,"event":"solved","from":"open","to":"solved"}
	// true 2 <nil>
}
