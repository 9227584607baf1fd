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
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestWorkers is TestPostgres with two workers on every partition at the same
// time, as when one of them does not know yet that it has lost the partition.
// Each goes through the partition independently, in batches that are split over
// connections, starts again at earlier offsets, and loses connections.
func TestWorkers(t *testing.T) {
	fewer(t, 250)
	for _, draw := range drawings {
		t.Run(draw.name, func(t *testing.T) {
			pool := testenv.Pool(t, schema)
			crewPool := newCrewPool(t, pool)
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t, draw, func(t *rapid.T, rules versioning.Rules) store {
					// Two workers count waiting records at different times.
					rules.MaxParked = 10_000
					return openPostgres(t, pool, rules)
				})
				w.model.MaxParked = 0
				c := crew{world: w, pool: pool, seed: rapid.Uint64().Draw(t, "seed")}
				c.open(t, crewPool, draw.identity)
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

	pool  *pgxpool.Pool // its connections are not cut
	store *postgres.Store
	seed  uint64
}

// newCrewPool returns a pool whose connections differ by name from the test's.
func newCrewPool(t *testing.T, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	config := pool.Config()
	config.ConnConfig.RuntimeParams["application_name"] = "crew"
	crewPool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(crewPool.Close)
	return crewPool
}

func (c *crew) open(t *rapid.T, pool *pgxpool.Pool, identity versioning.Identity) {
	pool.Reset() // some connections were cut in the previous case
	store, err := postgres.Open(t.Context(), pool, postgres.Table{
		Machine: c.machine, Name: "things", Identity: identity, MaxParked: 10_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.store = store
}

// work runs all workers through their partitions, and then sweeps.
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
	stop := make(chan struct{})
	saboteur.Go(func() { c.cutConnections(t, stop) })
	workers.Wait()
	close(stop)
	saboteur.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := retry(ctx, func() error { _, err := c.store.Sweep(ctx, versioning.Reading{}); return err }); err != nil {
		t.Fatal(err)
	}
}

// consume goes through a partition and sometimes loses its offsets.
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

// settle applies a batch, split over connections, until it succeeds.
func (c *crew) settle(ctx context.Context, messages []model.Message) error {
	var lists [][]*versioning.Record
	err := retry(ctx, func() (err error) {
		lists, _, err = c.store.Split(ctx, c.records(messages), 3)
		return err
	})
	if err != nil {
		return err
	}
	errs := make(chan error, len(lists))
	for _, list := range lists {
		go func() {
			errs <- retry(ctx, func() error {
				result, err := c.store.Apply(ctx, "", list)
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

// retry calls do until it succeeds, ctx is done, or retrying cannot help.
func retry(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil || versioning.CauseOf(err) != versioning.Infrastructure {
			return err
		}
	}
}

// cutConnections terminates connections of the workers, one every few
// milliseconds. It stops after a while: on a busy machine no connection might
// live long enough to finish its work.
func (c *crew) cutConnections(t *rapid.T, stop <-chan struct{}) {
	const query = `
SELECT pg_terminate_backend(pid) FROM (
	SELECT pid FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = 'crew' AND state <> 'idle' ORDER BY random() LIMIT 1
) AS one`
	ticker := time.NewTicker(7 * time.Millisecond)
	defer ticker.Stop()
	for range 20 {
		select {
		case <-stop:
			return
		case <-ticker.C:
			if _, err := c.pool.Exec(t.Context(), query); err != nil {
				t.Error(err)
			}
		}
	}
}
