package pawltest_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A walk finds that a wallet can be filled with less than nothing, and prints a test that shows it.
func ExampleWalk_Run() {
	t := &printer{}
	walk := pawltest.Walk{
		Config: pawltest.Config{Tables: []postgres.Table{{Machine: wallet}}},
		Data: map[statemachine.Event][]any{
			"filled": {Amount{100}, Amount{-100}},
			"paid":   {Amount{100}, Amount{70}},
		},
		Invariants: []pawltest.Invariant{neverNegative},
	}
	walk.Run(t)
	// Output:
	// the invariant "no balance is negative" does not hold for e1: the balance is -100
	//
	// The shortest script that shows it has 2 steps. As a test:
	//
	// func TestWallet_shortest(t *testing.T) {
	// 	w := pawltest.New(t, walk.Config)
	// 	w.Give("e1", "opened", nil)
	// 	w.Give("e1", "filled", Amount{Cents: -100})
	// 	w.Hold(walk.Invariants...)
	// }
	//
	// wallet e1 is open, version 2: {Balance:-100}
	//   steps:
	//     1: opened to open (delivery 1)
	//     2: filled from open to open (delivery 2)
	//   timers:
	//     closed in 24h0m0s
	//   deliveries:
	//     1: opened for e1: applied
	//     2: filled for e1 {Cents:-100}: applied
}

// An invariant can look at what an entity has emitted.
func ExampleValueOf() {
	t := &printer{}
	w := pawltest.Of(t, wallet)
	w.Give("w1", "opened", nil)
	w.Give("w1", "filled", Amount{5})
	w.Give("w1", "paid", Amount{2})
	paid, err := pawltest.ValueOf[Amount](w.Entity("w1").Messages[0])
	fmt.Println(paid.Cents, err)
	// Output: 2 <nil>
}

var wallets = &pawltest.Database{
	DDL: `CREATE TABLE wallets (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, balance bigint NOT NULL DEFAULT 0 CHECK (balance <= 1000))`,
}

// The same test on a database: here it has a constraint that the machine does not know.
func ExamplePostgres() {
	t := &printer{}
	w := pawltest.New(t, pawltest.Config{
		Tables: []postgres.Table{{Machine: wallet, Name: "wallets"}},
		Pool:   pawltest.Postgres(t, wallets),
	})
	w.Give("w1", "opened", nil)
	w.Give("w1", "filled", Amount{900})
	w.Give("w1", "filled", Amount{200}).Want(versioning.Rejected).WantReason(versioning.ReasonConstraint)
	w.WantRow("w1", "open", Wallet{Balance: 900})
	t.end()                               // the end of the test
	fmt.Println(pawltest.ClosePostgres()) // the end of TestMain
	// Output: <nil>
}

// A new version of the machine forgets that wallets can be closed early. History says for which
// wallets of production that matters.
func ExampleHistory() {
	t := &printer{}
	ctx := context.Background()
	pool := pawltest.Postgres(t, wallets) // stands for a copy of the production database
	tables := []postgres.Table{{Machine: wallet, Name: "wallets"}}
	w := pawltest.New(t, pawltest.Config{Tables: tables, Pool: pool})
	w.Give("w1", "opened", nil)
	w.Give("w1", "closed", nil)

	// Once in a while, somebody exports a sample and commits the file.
	reader, err := postgres.OpenReader(ctx, pool, "", tables...)
	if err != nil {
		fmt.Println(err)
		return
	}
	var lines bytes.Buffer
	if err := check.WriteHistory(ctx, &lines, reader, "wallet", 10_000); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(&lines)

	// The unit test of the new version.
	next := statemachine.MustCompile(statemachine.Definition{
		Name: "wallet", Version: 2,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "expired", From: statemachine.In("open"), To: "closed"},
		},
		Terminal: statemachine.In("closed"),
	})
	pawltest.History(t, next, "testdata/wallet-history.jsonl")
	t.end()
	// Output:
	// {"machine":"wallet","key":"w1","version":1,"event":"opened","to":"open"}
	// {"machine":"wallet","key":"w1","version":2,"event":"closed","from":"open","to":"closed"}
	// machine "wallet", version 2, makes something else of the history in testdata/wallet-history.jsonl:
	//   1 entities with 2 steps, of which 0 depend on data: 1 entities would have ended elsewhere, 0 in the same state in another way
	//   1 entities (1 ended elsewhere), such as w1 at version 2: "closed" is not legal in state "open", and led to "closed"
}
