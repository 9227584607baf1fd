package postgres

import (
	"fmt"
	"testing"

	"github.com/pawl-go/pawl/versioning"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
)

// BenchmarkFramework measures the framework's work on a record between Decode and
// PostgreSQL: Prepare, Split, the reader's bookkeeping, the fold, and the statements
// with their parameters, unsent. Half of the records create entities, half move them.
func BenchmarkFramework(b *testing.B) {
	const size, connections = 5000, 4
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending"}, {Event: "captured", From: statemachine.In("pending"), To: "paid"},
		},
		Terminal: statemachine.In("paid"),
	})
	columns := []tableColumn{{name: "id"}, {name: "state"}, {name: "version"}}
	t := &table{
		Table: Table{Machine: machine, Name: "orders"}, columns: columns,
		key: &columns[0], state: &columns[1], version: &columns[2],
	}
	t.key.exactText = true
	s := &snapshot{
		plain: &prepared{}, plainSplit: &prepared{},
		schema: newSchema(""),
		tables: []*table{t}, byMachine: map[string]*table{"order": t},
		rules: map[string]versioning.Rules{"order": {Machine: machine}},
	}
	records := make([]versioning.Record, size)
	batch := make([]*versioning.Record, size)
	changes := make([]versioning.Change, size)
	for i := range changes {
		event := statemachine.Event("placed")
		if i%2 == 1 {
			event = "captured"
		}
		changes[i] = versioning.Change{Key: fmt.Sprintf("order-%08d", i), Event: event, MessageID: fmt.Sprintf("message-%08d", i)}
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range batch {
			records[i] = versioning.Record{
				Origin:  versioning.Origin{Topic: "orders", Partition: int32(i / 500), Offset: int64(i)},
				Changes: changes[i : i+1],
			}
			batch[i] = &records[i]
			s.ready(batch[i])
		}
		lists, _ := versioning.Split(batch, nil, connections)
		for _, list := range lists {
			r := s.newReader(nil, list, false)
			r.readDead(&pgx.Batch{}, list)
			fresh := r.unseen(list)[0]
			fresh.keys()
			for _, e := range fresh.entities {
				if isMoved := (e.key[len("order-0000000")]-'0')%2 == 1; isMoved { // as its row would say
					e.known.Exists, e.known.Row = true, versioning.Row{State: "pending", Version: 1}
				}
			}
			plan := versioning.Fold(s.rules, r.view, list)
			if len(plan.Moves) != len(list) {
				b.Fatalf("%d of %d records move an entity", len(plan.Moves), len(list))
			}
			script := s.compose(plan)
			script.locks = fatesOf(plan)
			script.statements()
		}
	}
	n := float64(b.N * size)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/record")
}
