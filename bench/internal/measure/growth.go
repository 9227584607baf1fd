package measure

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// growth measures contenders on tables with more and more entities, each with its history.
// Half of the records are for random old entities, half for new ones.
func growth(ctx context.Context, b *bench) error {
	contenders := b.wanted([]string{contend.Pawl, contend.HandBatch})
	if len(contenders) == 0 {
		return nil
	}
	databases := make(map[int]string)
	for _, old := range b.growth {
		databases[old] = b.database(fmt.Sprintf("growth-%d", old))
		if err := b.preload(ctx, databases[old], old, contenders); err != nil {
			return fmt.Errorf("preload %d entities: %w", old, err)
		}
	}
	for round := range b.Rounds {
		for i := range b.growth {
			old := b.growth[(i+round)%len(b.growth)]
			for j := range contenders {
				contender := contenders[(j+round)%len(contenders)]
				if err := b.grow(ctx, databases[old], old, round, contender); err != nil {
					return fmt.Errorf("round %d on %d entities: %w", round+1, old, err)
				}
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

// grow measures one contender on records of its own: the tables keep what the others wrote.
func (b *bench) grow(ctx context.Context, database string, old, round int, contender string) error {
	name := fmt.Sprintf("growth-%d-%d-%s", old, round, contender)
	run := fmt.Sprintf("%s-%d-%s", b.run, round, contender[:1]) // as long for each
	in, err := b.produce(ctx, name, traffic.Account.Name(), traffic.Growth(run, old, b.growing), 0)
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("growth-%d", old)
	result, err := b.measured(ctx, workload, b.job(workload, contender, in, b.server.urlOf(database)), database, true)
	if err != nil {
		return err
	}
	b.results.AddGrowth(old, contender, result.Rate())
	return b.broker.remove(ctx, in.topic)
}

// preload creates a database with old accounts and their history. It uses the
// framework's store, so that the tables contain what a worker leaves behind,
// whatever the schema. The other contenders get a copy of the history.
func (b *bench) preload(ctx context.Context, database string, accounts int, contenders []string) error {
	if err := b.server.create(ctx, database, nil); err != nil {
		return err
	}
	start := time.Now()
	if err := contend.Preload(ctx, b.server.urlOf(database), accounts); err != nil {
		return err
	}
	if slices.Contains(contenders, contend.HandBatch) {
		if err := b.server.in(ctx, database, copyHistorySQL); err != nil {
			return err
		}
	}
	if err := b.server.in(ctx, database, "VACUUM ANALYZE"); err != nil {
		return err
	}
	b.Logger.Info("preloaded", "entities", accounts, "seconds", int(time.Since(start).Seconds()))
	return nil
}
