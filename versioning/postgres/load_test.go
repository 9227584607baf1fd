package postgres_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestOneFateUnderLoad runs all of these at once: an owner and a zombie apply the same
// log, two operators redrive dead letters, and two sweeps release and expire parked
// records. In the end each record must have one fate.
func TestOneFateUnderLoad(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders", ParkFor: time.Millisecond, MaxRefused: -1})
	const keys, rounds = 60, 25
	random := rand.New(rand.NewPCG(1, 2))
	type draft struct {
		change versioning.Change
		origin versioning.Origin
	}
	var drafts []draft
	var l log
	for range rounds {
		for range keys {
			event := []statemachine.Event{"placed", "noted", "noted", "noted", "noted", "captured", "nosuch"}[random.IntN(7)]
			amount := []int{1, 2, 3, 5000}[random.IntN(4)] // the last one is refused
			r := l.set(key(random.IntN(keys)), event, versioning.Columns{"amount": amount})
			drafts = append(drafts, draft{r.Changes[0], r.Origin})
		}
	}
	record := func(d draft) *versioning.Record {
		r := &versioning.Record{Origin: d.origin, Changes: []versioning.Change{d.change}}
		store.Prepare(r)
		return r
	}
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		c := drafts[r.Origin.Offset].change
		c.Set = versioning.Columns{"amount": 1}
		return []versioning.Change{c}, nil
	}

	ctx, end := context.WithCancel(t.Context())
	defer end()
	worker := func(size int) {
		for some := range slices.Chunk(drafts, size) {
			records := make([]*versioning.Record, len(some))
			for i := range some {
				records[i] = record(some[i])
			}
			for len(records) > 0 {
				result, err := store.Apply(t.Context(), "", records)
				records = records[len(result.Outcomes):]
				if err != nil && versioning.CauseOf(err) != versioning.Infrastructure {
					t.Errorf("Apply: %v", err)
					return
				}
			}
		}
	}
	until := func(do func() error) {
		for ctx.Err() == nil {
			if err := do(); err != nil && versioning.CauseOf(err) != versioning.Infrastructure {
				t.Errorf("%v", err)
				return
			}
		}
	}
	redrive := func() error {
		letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{Limit: 20})
		if err == nil {
			_, err = store.Redrive(t.Context(), letters, decode)
		}
		return err
	}
	var last time.Time
	var mu sync.Mutex
	sweep := func() error {
		mu.Lock()
		read := versioning.Reading{Pause: time.Hour, Partitions: []versioning.ReadPartition{{TopicID: [16]byte{1}, Until: last}}}
		mu.Unlock()
		swept, err := store.Sweep(t.Context(), read)
		mu.Lock()
		defer mu.Unlock()
		last = swept.At
		return err
	}
	var workers, others sync.WaitGroup
	for _, do := range []func() error{redrive, redrive, sweep, sweep} {
		others.Go(func() { until(do) })
	}
	workers.Go(func() { worker(50) })
	workers.Go(func() { worker(37) })
	workers.Wait()
	end()
	others.Wait()

	if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Error(err)
	}
	wantRows(t, pool, `
WITH fates AS (
	SELECT "offset", 'applied' AS fate FROM pawl.transitions UNION ALL
	SELECT "offset", 'parked' FROM pawl.parked UNION ALL
	SELECT "offset", 'dead' FROM pawl.dead_letters
)
SELECT n || ' ' || coalesce(string_agg(fate, ','), 'nothing') FROM generate_series(0, 1499) AS n LEFT JOIN fates ON "offset" = n
GROUP BY n HAVING count(fate) <> 1`)
	wantRows(t, pool, `SELECT entity FROM pawl.transitions GROUP BY entity HAVING count(*) <> max(version)`)
	wantRows(t, pool, `SELECT o.id FROM orders AS o WHERE NOT EXISTS (
	SELECT FROM pawl.transitions AS h WHERE h.entity = o.id AND h.version = o.version AND h.to_state = o.state)`)
}
