package contend

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// runReplay runs a dry run or a verification over the topic. It settles all records at the
// end, so that the comparison of the verification counts too.
func runReplay(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	pool, err := pgxpool.New(ctx, job.DatabaseURL)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer pool.Close()
	work := replay.DryRun
	if job.Contender == PawlVerify {
		work = replay.Verify
	}
	report, err := work(ctx, replay.Config{
		Client: []kgo.Opt{kgo.SeedBrokers(job.Brokers...), kgo.WithHooks(m)},
		Topics: []string{job.Topic}, Pool: pool, Tables: []postgres.Table{{Machine: machine, Name: table}},
		Decode: consumer.JSON(changesOf(job)),
	})
	if err != nil {
		return err
	}
	if !report.Clean() {
		return fmt.Errorf("it found something: %v", report)
	}
	m.settle(int(report.Records))
	return nil
}
