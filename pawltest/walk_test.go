package pawltest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// wantFound fails the test unless a walk finds one thing that says all parts.
func wantFound(t *testing.T, w pawltest.Walk, parts ...string) {
	t.Helper()
	got := failuresOf(t, func(tb pawltest.TB) { w.Run(tb) })
	if len(got) != 1 {
		t.Fatalf("failures %q, want one", got)
	}
	for _, part := range parts {
		if !strings.Contains(got[0], part) {
			t.Errorf("the walk does not say %q:\n%s", part, got[0])
		}
	}
}

// TestOrdersWithoutSources finds rows that depend on the order, and nothing else, if nothing is
// said about orders.
func TestOrdersWithoutSources(t *testing.T) {
	t.Parallel()
	w := walkOf(mistakes{orders: true})
	w.Sources = nil
	wantFound(t, w, "two orders of delivery lead to different rows")
	missing := walkOf(mistakes{noNotYet: true})
	missing.Sources = nil
	missing.Run(t) // the refund may have come too early on purpose
	inOrder := walkOf(mistakes{orders: true, noNotYet: true})
	inOrder.Sources = [][]statemachine.Event{inOrder.Config.Tables[0].Machine.Events()}
	inOrder.Run(t) // nothing comes in another order
}

// A meter is a machine whose messages carry versions.
type meter struct {
	Reads int64 `db:"reads"`
}

func meters(read func(*statemachine.Firing, *meter, Money) error) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: "meter", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "installed", To: "installed"},
			{Event: "read", From: statemachine.In("installed"), To: "installed", Do: statemachine.Do(read)},
			{Event: "removed", From: statemachine.In("installed"), To: "removed"},
		},
		Terminal: statemachine.In("removed"),
	})
}

// TestWalkByVersion walks a machine that identifies changes by version.
func TestWalkByVersion(t *testing.T) {
	t.Parallel()
	walk := func(limit int64) pawltest.Walk {
		m := meters(func(_ *statemachine.Firing, m *meter, _ Money) error {
			m.Reads++
			return nil
		})
		return pawltest.Walk{
			Config: pawltest.Config{Tables: []postgres.Table{{Machine: m, Identity: versioning.ByVersion}}},
			Data:   map[statemachine.Event][]any{"read": {Money{1}}},
			Invariants: []pawltest.Invariant{pawltest.Each("few reads", func(_ *pawltest.Entity, m meter) error {
				if m.Reads > limit {
					return fmt.Errorf("%d reads", m.Reads)
				}
				return nil
			})},
		}
	}
	walk(1000).Run(t)
	wantFound(t, walk(1), `the invariant "few reads" does not hold for e1: 2 reads`, "has 3 steps",
		`w.Change(versioning.Change{Machine: "meter", Key: "e1", Event: "read", Expected: versioning.At(2), Data: Money{Amount: 1}})`)
}

// TestWalkByState walks a machine whose state is enough to see a duplicate.
func TestWalkByState(t *testing.T) {
	t.Parallel()
	pawltest.Walk{Config: pawltest.Config{Tables: []postgres.Table{{Machine: tickets, Identity: versioning.ByState}}}}.Run(t)
}

// TestWalkChanges draws from lists of changes of several machines.
func TestWalkChanges(t *testing.T) {
	t.Parallel()
	cfg := paymentConfig(nil)
	cfg.Tables = append(cfg.Tables, postgres.Table{Machine: tickets, Name: "tickets"})
	w := pawltest.Walk{
		Config: cfg,
		Changes: [][]versioning.Change{
			{
				{Machine: "payment", Key: "p", Event: "payment.authorized", Data: Money{100}},
				{Machine: "ticket", Key: "7", Event: "opened", Set: versioning.Columns{"title": "pay"}},
			},
			{{Machine: "payment", Key: "p", Event: "payment.voided"}, {Machine: "ticket", Key: "7", Event: "closed"}},
		},
		Invariants: []pawltest.Invariant{pawltest.Each("no ticket is closed", func(e *pawltest.Entity, _ struct{}) error {
			if e.State == "closed" {
				return errors.New("this one is")
			}
			return nil
		})},
	}
	wantFound(t, w, `the invariant "no ticket is closed" does not hold for ticket/7: this one is`, "has 2 steps",
		`	w.Change(versioning.Change{Machine: "payment", Key: "p", Event: "payment.authorized", Data: Money{Amount: 100}}, `+
			`versioning.Change{Machine: "ticket", Key: "7", Event: "opened", Set: versioning.Columns{"title": "pay"}})`)
	w.Invariants = nil
	wantFound(t, w, "payment: authorized payment.captured (covers the rest)")
}

// TestWalkNeedsTime finds what happens after a timer only.
func TestWalkNeedsTime(t *testing.T) {
	t.Parallel()
	w := walkOf(mistakes{})
	w.Invariants = []pawltest.Invariant{pawltest.Each("nothing expires", func(e *pawltest.Entity, _ Payment) error {
		for _, s := range e.Steps {
			if s.Event == "payment.expired" {
				return errors.New("it has expired")
			}
		}
		return nil
	})}
	wantFound(t, w, "has 2 steps", "\tw.Give(\"e1\", \"payment.authorized\", Money{Amount: 100})\n\tw.NextTimer()\n\tw.Hold(")
}

// TestWalkSeesDifferentMessages finds a message that says something else when it is sent again.
func TestWalkSeesDifferentMessages(t *testing.T) {
	t.Parallel()
	w := recorded(walkOf(mistakes{}))
	decode := w.Config.Decode
	w.Config.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		changes, err := decode(r)
		for i := range changes {
			if _, ok := changes[i].Data.(Money); ok {
				changes[i].Data = Money{r.Origin.Offset} // what it should not look at
			}
		}
		return changes, err
	}
	wantFound(t, w, "is Diverged when it is sent again as delivery 2", "has 2 steps", "\td2 := d1.Resend()\n\td2.Want(versioning.Duplicate)\n")
}

// A Priced is data that code can't write as a literal.
type Priced struct {
	Price decimal.Decimal
	At    time.Time
	Tags  map[string][]string
	More  *int64
	Kind  statemachine.State
}

// TestPrintedValues checks how data is written as code.
func TestPrintedValues(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 2, 29, 1, 2, 3, 4, time.UTC)
	for _, c := range []struct {
		data Priced
		want string
	}{
		{Priced{}, `Priced{}`},
		{Priced{Kind: "a\"b"}, "Priced{Kind: `a\"b`}"},
		{Priced{At: at}, `Priced{At: time.Date(2024, 2, 29, 1, 2, 3, 4, time.UTC)}`},
		{Priced{Tags: map[string][]string{"b": nil, "a": {"x", "y"}}}, `Priced{Tags: map[string][]string{"a": []string{"x", "y"}, "b": nil}}`},
		{Priced{More: new(int64(5))}, `Priced{More: new(int64(5))}`},
		{Priced{Price: decimal.RequireFromString("1.50")}, "json.RawMessage(`" + `{"Price":"1.5","At":"0001-01-01T00:00:00Z","Tags":null,"More":null,"Kind":""}` + "`)"},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			m := statemachine.MustCompile(statemachine.Definition{
				Name: "thing", Version: 1,
				Transitions: []statemachine.Transition{
					{Event: "made", To: "made", Do: statemachine.Do(func(*statemachine.Firing, *struct{}, Priced) error { panic("no") })},
				},
				Terminal: statemachine.In("made"),
			})
			wantFound(t, pawltest.Walk{
				Config: pawltest.Config{Tables: []postgres.Table{{Machine: m}}}, Data: map[statemachine.Event][]any{"made": {c.data}},
			}, `w.Give("e1", "made", `+c.want+")\n", "it panics: no")
		})
	}
}

// TestLongScripts finds a mistake that needs more steps, and time to find.
func TestLongScripts(t *testing.T) {
	t.Parallel()
	w := walkOf(mistakes{})
	w.Data["payment.captured"] = []any{Money{20}, Money{100}}
	w.Scripts, w.Seed, w.Config.Impure = 3000, 4, true
	w.Invariants = []pawltest.Invariant{pawltest.Each("no payment is captured in five parts", func(e *pawltest.Entity, p Payment) error {
		if p.Captured == p.Amount && len(e.Messages) == 5 {
			return errors.New("this one is")
		}
		return nil
	})}
	wantFound(t, w, "has 6 steps")
}
