package postgres_test

import (
	"fmt"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// BenchmarkApply settles small and large batches on one connection. Half of the records
// create entities, half move them. The time is per batch.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{4, 1000} {
		b.Run(fmt.Sprintf("%d records", size), func(b *testing.B) {
			pool := testenv.Pool(b, shopTemplate)
			store, err := postgres.Open(b.Context(), pool, postgres.Table{Machine: shopOrder, Name: "shop_orders"})
			if err != nil {
				b.Fatal(err)
			}
			records := 0
			record := func(order int, event statemachine.Event) *versioning.Record {
				r := &versioning.Record{
					Origin:  versioning.Origin{Topic: "orders", Offset: int64(records)},
					Changes: []versioning.Change{{Key: fmt.Sprintf("order-%08d", order), Event: event, MessageID: fmt.Sprintf("message-%012d", records)}},
				}
				if event == "placed" {
					r.Changes[0].Set = versioning.Columns{"total": "129"}
				}
				records++
				store.Prepare(r)
				return r
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				var batch []*versioning.Record
				for range size / 2 {
					placed := records / 2
					batch = append(batch, record(placed, "placed"), record(placed-size/2, "paid"))
				}
				b.StartTimer()
				result, err := store.Apply(b.Context(), "", batch)
				if err != nil {
					b.Fatal(err)
				}
				if last := result.Outcomes[size-1]; last.Verdict != versioning.Applied && records > 2*size {
					b.Fatalf("the last record is %+v", last)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/record")
		})
	}
}
