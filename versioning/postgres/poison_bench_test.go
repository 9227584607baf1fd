package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// BenchmarkPoison applies 50,000 records in batches of 5,000, alternately clean and
// with one record in 10,000 that PostgreSQL refuses. It reports how many records per
// second each settles, and their ratio.
func BenchmarkPoison(b *testing.B) {
	const records, batch, every = 50_000, 5_000, 10_000
	pool := testenv.Pool(b, shopTemplate)
	store, err := postgres.Open(b.Context(), pool, postgres.Table{Machine: shopOrder, Name: "shop_orders"})
	if err != nil {
		b.Fatal(err)
	}
	run := 0
	settle := func(poison bool) time.Duration {
		run++
		all := make([]*versioning.Record, records)
		for i := range all {
			total := 1
			if poison && i%every == every/3 {
				total = -1
			}
			all[i] = &versioning.Record{
				Origin: versioning.Origin{Topic: "t", Partition: int32(run), Offset: int64(i)},
				Changes: []versioning.Change{{
					Key: fmt.Sprintf("%d-%d", run, i), Event: "placed", Set: versioning.Columns{"total": total},
				}},
			}
			store.Prepare(all[i])
		}
		start := time.Now()
		for len(all) > 0 {
			lists, _ := versioning.Split(all[:batch], nil, 4)
			for _, list := range lists {
				if _, err := store.Apply(b.Context(), "", list); err != nil {
					b.Fatal(err)
				}
			}
			all = all[batch:]
		}
		return time.Since(start)
	}
	settle(true) // warm up
	var clean, poisoned time.Duration
	for b.Loop() {
		clean += settle(false)
		poisoned += settle(true)
	}
	total := float64(records * b.N)
	b.ReportMetric(total/clean.Seconds(), "clean-records/s")
	b.ReportMetric(total/poisoned.Seconds(), "poisoned-records/s")
	b.ReportMetric(clean.Seconds()/poisoned.Seconds(), "ratio")
}
