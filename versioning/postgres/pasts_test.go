package postgres_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// bill is a machine whose state proves which events have happened.
var bill = statemachine.MustCompile(statemachine.Definition{
	Name: "bill", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "sent", To: "sent"},
		{Event: "reminded", From: statemachine.In("sent"), To: "reminded"},
		{Event: "settled", From: statemachine.In("reminded"), To: "settled"},
	},
	Terminal: statemachine.In("settled"),
})

// openBoth opens a store on orders and bills.
func openBoth(t *testing.T) (*pgxpool.Pool, *postgres.Store) {
	t.Helper()
	pool := testenv.Pool(t, withOrders)
	mustExec(t, pool, `CREATE TABLE bills (id bigint PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, amount int CHECK (amount < 100))`)
	return pool, open(t, pool, postgres.Table{Machine: order, Name: "orders"},
		postgres.Table{Machine: bill, Name: "bills", Identity: versioning.ByState})
}

func orders(key string, event statemachine.Event, more ...func(*versioning.Change)) versioning.Change {
	c := versioning.Change{Machine: "order", Key: key, Event: event}
	for _, change := range more {
		change(&c)
	}
	return c
}

func bills(key string, event statemachine.Event, amount any) versioning.Change {
	c := versioning.Change{Machine: "bill", Key: key, Event: event}
	if amount != nil {
		c.Set = versioning.Columns{"amount": amount}
	}
	return c
}

func expecting(v int64) func(*versioning.Change) {
	return func(c *versioning.Change) { c.Expected = versioning.At(v) }
}

func message(id string) func(*versioning.Change) {
	return func(c *versioning.Change) { c.MessageID = id }
}

// TestPasts checks records whose verdict depends on the past of their entities, in
// batches of every size.
func TestPasts(t *testing.T) {
	t.Parallel()
	type changes = []versioning.Change
	long := []changes{{orders("l", "placed")}}
	longVerdicts := []string{"applied"}
	for i := range 39 {
		long = append(long, changes{orders("l", "noted", message(fmt.Sprint("m", i)))})
		longVerdicts = append(longVerdicts, "applied")
	}
	for i := range 39 { // resent, as other records
		long = append(long, changes{orders("l", "noted", message(fmt.Sprint("m", i)))})
		longVerdicts = append(longVerdicts, "duplicate")
	}
	for name, c := range map[string]struct {
		records []changes
		want    []string // the final verdicts
		rows    []string
	}{
		"message IDs past the sixteenth step": {long, longVerdicts, []string{"l pending 40"}},
		"the message that is the sixteenth, the seventeenth and the eighteenth step": {
			[]changes{
				{orders("s", "placed")},
				slices.Repeat(changes{orders("s", "noted", message("first"))}, 14),
				{orders("s", "noted", message("x")), orders("s", "noted", message("y")), orders("s", "noted", message("z"))},
				{orders("s", "noted", message("x"))},
				{orders("s", "noted", message("y"))},
				{orders("s", "noted", message("z"))},
				{orders("s", "noted", message("first"))},
			},
			[]string{"applied", "applied", "applied", "duplicate", "duplicate", "duplicate", "duplicate"},
			[]string{"s pending 18"},
		},
		"creation that expects no entity": {
			[]changes{
				{orders("a", "placed", expecting(0), message("one"))},
				{orders("a", "placed", expecting(0), message("other"))},
				{orders("a", "captured", expecting(0))},
				{orders("a", "captured", expecting(1))},
				{orders("b", "placed", expecting(1))},
				{orders("b", "captured", expecting(0))},
				{orders("c", "captured", expecting(1))},
				{orders("c", "placed", expecting(0))},
				{orders("d", "placed", expecting(-1))},
			},
			[]string{
				"applied", "diverged version_taken", "diverged version_taken", "applied", "early version_ahead",
				"rejected illegal", "applied", "applied", "diverged history_missing",
			},
			[]string{"a paid 2", "c paid 2"},
		},
		"parked records of one state": {
			[]changes{
				{bills("1", "settled", 3)},
				{bills("1", "settled", 4)}, // resent while the first one is parked
				{bills("1", "reminded", 2)},
				{bills("1", "sent", 1)},
				{bills("1", "reminded", 9)},
				{bills("1", "sent", 9)},
			},
			[]string{"applied", "duplicate", "applied", "applied", "duplicate", "duplicate"},
			[]string{"1 settled 3 3"},
		},
		"one entity twice": {
			[]changes{
				{orders("t", "placed"), orders("t", "captured")},
				{orders("t", "shipped"), orders("t", "shipped", message("again"))}, // the second is illegal after the first
				{orders("t", "shipped"), orders("t", "delivered")},
			},
			[]string{"applied", "rejected illegal", "applied"},
			[]string{"t delivered 4"},
		},
		"undone over two tables": {
			[]changes{
				{orders("u", "placed"), orders("v", "placed")},
				{bills("7", "sent", 5)},
				{orders("u", "captured"), bills("7", "reminded", 500)},                                          // a constraint refuses the last record
				{orders("u", "captured"), orders("v", "captured"), bills("7", "nosuch", nil)},                   // the machine refuses the last record
				{orders("u", "captured"), orders("u", "shipped"), bills("8", "sent", 1), bills("8", "sent", 2)}, // a duplicate by state
				{orders("w", "placed"), bills("9", "sent", 1), orders("u", "placed")},
				{orders("v", "captured"), bills("7", "reminded", 6)},
			},
			[]string{
				"applied", "applied", "rejected constraint", "rejected unknown_event", "applied", "rejected illegal", "applied",
			},
			[]string{"u shipped 3", "v paid 2", "7 reminded 2 6", "8 sent 1 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1, 2, 3, len(c.records)} {
				pool, store := openBoth(t)
				var l log
				records := make([]*versioning.Record, len(c.records))
				for i, changes := range c.records {
					records[i] = l.record(slices.Clone(changes)...)
				}
				deliver := func() []versioning.Outcome {
					var all versioning.Result
					for part := range slices.Chunk(records, size) {
						result := apply(t, store, part...)
						all.Outcomes = append(all.Outcomes, result.Outcomes...)
						for _, s := range result.Released {
							all.Outcomes[s.Record.Origin.Offset] = s.Outcome
						}
					}
					return all.Outcomes
				}
				if diff := cmp.Diff(c.want, verdicts(deliver())); diff != "" {
					t.Errorf("batches of %d (-want, +got):\n%s", size, diff)
				}
				rows := func() []string {
					return append(query(t, pool, `SELECT concat_ws(' ', id, state, version) FROM orders ORDER BY id`),
						query(t, pool, `SELECT concat_ws(' ', id, state, version, amount) FROM bills ORDER BY id`)...)
				}
				if diff := cmp.Diff(c.rows, rows()); diff != "" {
					t.Errorf("rows after batches of %d (-want, +got):\n%s", size, diff)
				}
				again := slices.Clone(c.want)
				for i := range again {
					if again[i] == "applied" {
						again[i] = "duplicate"
					}
				}
				if diff := cmp.Diff(again, verdicts(deliver())); diff != "" {
					t.Errorf("redelivered in batches of %d (-want, +got):\n%s", size, diff)
				}
				if diff := cmp.Diff(c.rows, rows()); diff != "" {
					t.Errorf("rows after the second delivery (-want, +got):\n%s", diff)
				}
				wantRows(t, pool, `SELECT entity FROM pawl.transitions GROUP BY machine, entity HAVING count(*) <> max(version)`)
			}
		})
	}
}
