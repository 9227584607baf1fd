package contend

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// runCallers runs callers that each make one change after another and wait for it, like the
// handlers of an HTTP server. Each caller has its own orders. All share a pool.
func runCallers(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	pool, err := connect(ctx, job.DatabaseURL, min(job.Callers, shards))
	if err != nil {
		return err
	}
	defer pool.Close()
	apply, err := callOf(ctx, job, machine, pool)
	if err != nil {
		return err
	}
	m.start()
	group, ctx := errgroup.WithContext(ctx)
	for caller := range job.Callers {
		group.Go(func() error {
			// Each has several times as many as its share, because some callers are faster.
			for event := range traffic.NewOrders(fmt.Sprintf("%s-%d", job.Group, caller), job.Records/job.Callers) {
				message := event.Message("")
				if err := apply(ctx, event.ID, &message); err != nil {
					if ctx.Err() != nil {
						return nil // the end, or the time limit
					}
					return err
				}
				m.settle(1)
			}
			return nil
		})
	}
	return group.Wait()
}

// callOf returns how a contender makes one change.
func callOf(ctx context.Context, job Job, machine *statemachine.Machine, pool *pgxpool.Pool) (
	func(ctx context.Context, id string, message *traffic.Message) error, error,
) {
	if job.Contender != Pawl {
		t := newTransactor(pool, machine)
		return t.apply, nil
	}
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: machine, Name: table})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, id string, message *traffic.Message) error {
		all, err := changes(*message, nil)
		if err != nil {
			return err
		}
		all[0].MessageID = id
		outcome, err := store.Do(ctx, all...)
		if err == nil && outcome.Verdict != versioning.Applied {
			err = fmt.Errorf("%v is %v: %s", outcome.Entity, outcome.Verdict, outcome.Detail)
		}
		return err
	}, nil
}
