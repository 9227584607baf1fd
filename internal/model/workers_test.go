package model_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
)

// TestWorkers is TestPostgres with two workers on every partition at the same
// time, as when one of them does not know yet that it has lost it. Each goes its
// own way through the partition, in batches that are spread over connections,
// begins again somewhere before, and has its connections cut.
func TestWorkers(t *testing.T) {
	fewer(t, 250)
	for _, draw := range drawings {
		t.Run(draw.name, func(t *testing.T) {
			pool := testenv.Pool(t, schema)
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t, draw, func(t *rapid.T, rules versioning.Rules) store {
					// Two workers count what waits at different times.
					rules.MaxParked = 10_000
					return openPostgres(t, pool, rules)
				})
				w.model.MaxParked = 0
				c := crew{world: w, pool: pool, store: w.store.(postgres).Store, seed: rapid.Uint64().Draw(t, "seed")}
				c.work(t)
				w.deliver()
				w.check(t)
			})
		})
	}
}

// A crew is the workers of one world.
type crew struct {
	*world

	pool  *pgxpool.Pool
	store *versioning.Store
	seed  uint64
}

// work lets all workers go through their partitions, and then sweeps.
func (c *crew) work(t *rapid.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var workers, saboteur sync.WaitGroup
	errs := make(chan error, 4*len(c.partitions))
	for p := range c.partitions {
		for worker := range 2 {
			random := rand.New(rand.NewPCG(c.seed, uint64(2*p+worker)))
			workers.Go(func() { errs <- c.consume(ctx, c.partitions[p], random) })
		}
	}
	sabotage, stop := context.WithCancel(ctx)
	saboteur.Go(func() { c.cutConnections(sabotage) })
	workers.Wait()
	stop()
	saboteur.Wait()
	c.pool.Reset() // some of its connections are cut, and nobody has noticed yet
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := retry(ctx, func() error { _, err := c.store.Sweep(ctx); return err }); err != nil {
		t.Fatal(err)
	}
}

// consume goes through a partition as a worker does whose offsets get lost.
func (c *crew) consume(ctx context.Context, messages []model.Message, random *rand.Rand) error {
	for next := 0; next < len(messages); {
		size := 1 + random.IntN(len(messages)-next)
		if err := c.settle(ctx, messages[next:next+size]); err != nil {
			return err
		}
		next += size
		if random.IntN(4) == 0 {
			next = random.IntN(next + 1)
		}
	}
	return nil
}

// settle applies a batch, spread over connections, for as long as it takes.
func (c *crew) settle(ctx context.Context, messages []model.Message) error {
	lists, _ := versioning.Split(c.records(messages), 3)
	errs := make(chan error, len(lists))
	for _, list := range lists {
		go func() {
			errs <- retry(ctx, func() error {
				result, err := c.store.Apply(ctx, list)
				list = list[len(result.Outcomes):]
				return err
			})
		}()
	}
	var failed error
	for range lists {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return failed
}

// retry calls do until it succeeds, ctx ends, or no retry can help.
func retry(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil || versioning.CauseOf(err) != versioning.Infrastructure {
			return err
		}
	}
}

// cutConnections ends connections of the workers, one every few milliseconds.
func (c *crew) cutConnections(ctx context.Context) {
	const query = `
SELECT pg_terminate_backend(pid) FROM (
	SELECT pid FROM pg_stat_activity
	WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' ORDER BY random() LIMIT 1
) AS one`
	ticker := time.NewTicker(7 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_, _ = c.pool.Exec(ctx, query) // it may be cut itself
		}
	}
}
