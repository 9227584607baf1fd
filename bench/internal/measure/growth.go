package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// growth measures the worker on tables with more and more entities, each with
// its history. Half of the records are for random old entities, half for new
// ones.
func growth(ctx context.Context, b *bench) error {
	if len(b.wanted([]string{contend.Pawl})) == 0 {
		return nil
	}
	databases := make(map[int]string)
	for _, old := range b.growth {
		databases[old] = b.database(fmt.Sprintf("growth-%d", old))
		if err := b.preload(ctx, databases[old], old); err != nil {
			return fmt.Errorf("preload %d entities: %w", old, err)
		}
	}
	for round := range b.Rounds {
		for i := range b.growth {
			old := b.growth[(i+round)%len(b.growth)]
			if err := b.grow(ctx, databases[old], old, round); err != nil {
				return fmt.Errorf("round %d on %d entities: %w", round+1, old, err)
			}
		}
	}
	for _, database := range databases {
		if err := b.server.drop(ctx, database); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) grow(ctx context.Context, database string, old, round int) error {
	name := fmt.Sprintf("growth-%d-%d", old, round)
	run := fmt.Sprintf("%s-%d", b.run, round)
	in, err := b.produce(ctx, name, traffic.Account.Name(), traffic.Growth(run, old, b.growing), 0)
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("growth-%d", old)
	result, err := b.measured(ctx, workload, b.job(workload, contend.Pawl, in, b.server.urlOf(database)), database, true)
	if err != nil {
		return err
	}
	b.results.AddGrowth(old, result.Rate())
	return b.broker.remove(ctx, in.topic)
}

// preload creates a database with old accounts and their history. It uses the
// framework's store, so that the tables contain what a worker leaves behind,
// whatever the schema.
func (b *bench) preload(ctx context.Context, database string, accounts int) error {
	if err := b.server.create(ctx, database, nil); err != nil {
		return err
	}
	start := time.Now()
	if err := contend.Preload(ctx, b.server.urlOf(database), accounts); err != nil {
		return err
	}
	if err := b.server.in(ctx, database, "VACUUM ANALYZE"); err != nil {
		return err
	}
	b.Logger.Info("preloaded", "entities", accounts, "seconds", int(time.Since(start).Seconds()))
	return nil
}
