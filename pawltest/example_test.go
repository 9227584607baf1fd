package pawltest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A printer stands for the *testing.T of a test, which an example does not have. It prints failures.
type printer struct{ cleanups []func() }

func (*printer) Helper()                           {}
func (*printer) Name() string                      { return "TestWallet" }
func (*printer) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (*printer) Fatalf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (*printer) Context() context.Context          { return context.Background() }
func (p *printer) Cleanup(f func())                { p.cleanups = append(p.cleanups, f) }

func (p *printer) end() {
	for _, f := range slices.Backward(p.cleanups) {
		f()
	}
}

// A Wallet is the row of a wallet.
type Wallet struct {
	Balance int64 `db:"balance"`
}

// An Amount is the data of an event.
type Amount struct{ Cents int64 }

// A Receipt is a job: somebody sends it.
type Receipt struct{ Cents int64 }

var errTooLittle = errors.New("there is too little in it")

func pay(f *statemachine.Firing, w *Wallet, a Amount) error {
	if a.Cents > w.Balance {
		return errTooLittle
	}
	w.Balance -= a.Cents
	f.Emit("payments", a)
	f.Enqueue(Receipt(a))
	return nil
}

func fill(_ *statemachine.Firing, w *Wallet, a Amount) error {
	w.Balance += a.Cents
	return nil
}

var wallet = statemachine.MustCompile(statemachine.Definition{
	Name: "wallet", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "opened", To: "open"},
		{Event: "filled", From: statemachine.In("open"), To: "open", Do: statemachine.Do(fill)},
		{Event: "paid", From: statemachine.In("open"), To: "open", Do: statemachine.Do(pay)},
		{Event: "closed", From: statemachine.In("open"), To: "closed", After: 24 * time.Hour},
	},
	Terminal: statemachine.In("closed"),
})

// The first test of a machine. It says nothing, because everything is as it should be.
func Example() {
	t := &printer{} // func TestWallet(t *testing.T)

	w := pawltest.Of(t, wallet)
	w.Give("w1", "opened", nil)
	w.Give("w1", "filled", Amount{100}).Want(versioning.Applied)
	w.Give("w1", "paid", Amount{30}).Want(versioning.Applied)
	w.Give("w1", "paid", Amount{80}).WantReason(versioning.ReasonRefused)
	w.WantRow("w1", "open", Wallet{Balance: 70})
	w.WantMessages("w1", pawltest.Message{Topic: "payments", Value: Amount{30}})
	w.WantJobs("w1", Receipt{30})
	// Output:
}

// A test that fails prints what has happened to the entity.
func ExampleOf() {
	t := &printer{}
	w := pawltest.Of(t, wallet)
	w.Give("w1", "filled", Amount{100})
	w.Give("w1", "opened", nil)
	w.Give("w1", "paid", Amount{130})
	w.WantState("w1", "closed")
	// Output:
	// w1 is in state "open", want "closed"
	// wallet w1 is open, version 2: {Balance:100}
	//   steps:
	//     1: opened to open (delivery 2)
	//     2: filled from open to open (delivery 1)
	//   timers:
	//     closed in 24h0m0s
	//   dead letters:
	//     delivery 3, paid: rejected, refused: there is too little in it
	//   deliveries:
	//     1: filled for w1 {Cents:100}: applied
	//     2: opened for w1: applied
	//     3: paid for w1 {Cents:130}: rejected, refused: there is too little in it
}

// The tables are those of the workers, and so is Decode.
func ExampleNew() {
	t := &printer{}
	w := pawltest.New(t, pawltest.Config{
		Tables: []postgres.Table{{Machine: wallet, Name: "wallets"}},
		Decode: func(r *versioning.Record) ([]versioning.Change, error) {
			return []versioning.Change{{Key: string(r.Key), Event: statemachine.Event(r.Value)}}, nil
		},
	})
	opened := w.Send(pawltest.Record{Key: "w1", Value: "opened", Headers: map[string]string{"ce_source": "/shop", "ce_id": "7"}})
	fmt.Println(opened.Outcome().Verdict)
	fmt.Println(opened.Redeliver().Outcome().Verdict) // the broker delivers it again
	fmt.Println(opened.Resend().Outcome().Verdict)    // the producer sends it again, with the same headers
	// Output:
	// applied
	// duplicate
	// duplicate
}

// A record may ask for several changes.
func ExampleWorker_Change() {
	t := &printer{}
	w := pawltest.Of(t, wallet)
	w.Change(
		versioning.Change{Key: "w1", Event: "opened"},
		versioning.Change{Key: "w1", Event: "filled", Data: Amount{5}, Expected: versioning.At(1)},
	).Want(versioning.Applied)
	e := w.Entity("w1")
	fmt.Println(e.State, e.Version, e.Row.(Wallet).Balance)
	// Output: open 2 5
}

// The worker dies at the two points at which that could lose something or do it twice.
func ExampleWorker_CrashAfterCommit() {
	t := &printer{}
	w := pawltest.Of(t, wallet)
	w.Give("w1", "opened", nil)
	w.CrashBeforeCommit()
	w.Give("w1", "filled", Amount{5})
	w.CrashAfterCommit()
	w.Give("w1", "filled", Amount{7})
	fmt.Println(w.Entity("w1").Row)
	// Output: {12}
}

// The clock stands still until a test moves it.
func ExampleWorker_Advance() {
	t := &printer{}
	w := pawltest.Of(t, wallet)
	w.Give("w1", "opened", nil)
	fmt.Println(w.Advance(23*time.Hour), w.Entity("w1").State)
	w.WantTimers("w1", map[statemachine.Event]time.Duration{"closed": time.Hour})
	w.NextTimer()
	fmt.Println(w.Now().Format(time.DateTime), w.Entity("w1").State)
	// Output:
	// 0 open
	// 2024-06-04 12:00:00 closed
}

// A record that comes too early is parked, and one that can never be applied is a dead letter.
func ExampleWorker_WantParked() {
	t := &printer{}
	w := pawltest.Of(t, wallet)
	early := w.Give("w1", "paid", Amount{5}).Want(versioning.Early)
	w.WantParked("w1", versioning.ReasonNoEntity)
	w.Give("w1", "opened", nil)
	early.Want(versioning.Rejected)
	w.WantParked("w1")
	w.WantDeadLetters("w1", versioning.ReasonRefused)
	// Output:
}

// Two orders of delivery end in the same way.
func ExampleWorker_WantSame() {
	t := &printer{}
	one, other := pawltest.Of(t, wallet), pawltest.Of(t, wallet)
	one.Give("w1", "opened", nil)
	one.Give("w1", "filled", Amount{5})
	other.Give("w1", "filled", Amount{5})
	other.Give("w1", "opened", nil)
	one.WantSame(other)
	// Output:
}

// neverNegative is an invariant of every wallet.
var neverNegative = pawltest.Each("no balance is negative", func(_ *pawltest.Entity, w Wallet) error {
	if w.Balance < 0 {
		return fmt.Errorf("the balance is %d", w.Balance)
	}
	return nil
})

// Invariants are checked after each step of a walk, or when a test says so.
func ExampleWorker_Hold() {
	t := &printer{}
	w := pawltest.Of(t, wallet)
	w.Give("w1", "opened", nil)
	w.Give("w2", "opened", nil)
	w.Give("w1", "filled", Amount{-5})
	w.Hold(pawltest.Each("no balance is negative", func(_ *pawltest.Entity, w Wallet) error {
		if w.Balance < 0 {
			return fmt.Errorf("the balance is %d", w.Balance)
		}
		return nil
	}))
	w.Hold(pawltest.Together("there is some money", func(all []*pawltest.Entity) error {
		var sum int64
		for _, e := range all {
			sum += e.Row.(Wallet).Balance
		}
		if sum <= 0 {
			return fmt.Errorf("%d wallets have %d", len(all), sum)
		}
		return nil
	}))
	// Output:
	// the invariant "no balance is negative" does not hold for w1: the balance is -5
	// wallet w1 is open, version 2: {Balance:-5}
	//   steps:
	//     1: opened to open (delivery 1)
	//     2: filled from open to open (delivery 3)
	//   timers:
	//     closed in 24h0m0s
	//   deliveries:
	//     1: opened for w1: applied
	//     3: filled for w1 {Cents:-5}: applied
	// wallet w2 is open, version 1: {Balance:0}
	//   steps:
	//     1: opened to open (delivery 2)
	//   timers:
	//     closed in 24h0m0s
	//   deliveries:
	//     2: opened for w2: applied
	//
	// the invariant "there is some money" does not hold: 2 wallets have -5
	// wallet w1 is open, version 2: {Balance:-5}
	//   steps:
	//     1: opened to open (delivery 1)
	//     2: filled from open to open (delivery 3)
	//   timers:
	//     closed in 24h0m0s
	//   deliveries:
	//     1: opened for w1: applied
	//     3: filled for w1 {Cents:-5}: applied
	// wallet w2 is open, version 1: {Balance:0}
	//   steps:
	//     1: opened to open (delivery 2)
	//   timers:
	//     closed in 24h0m0s
	//   deliveries:
	//     2: opened for w2: applied
}
