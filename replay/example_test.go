package replay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// shop returns the configuration of replays of a topic with a few notes, and a function that
// ends it.
func shop(ctx context.Context) (cfg replay.Config, end func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "cases"))
	if err != nil {
		panic(err)
	}
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	client, err := kgo.NewClient(brokers, kgo.DefaultProduceTopic("cases"))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for _, m := range [][2]string{{"1", "opened"}, {"1", "noted"}, {"2", "opened"}, {"1", "checked"}, {"2", "closed"}, {"3", "opened"}} {
		r := &kgo.Record{Key: []byte(m[0]), Value: fmt.Appendf(nil, `{"event":%q,"note":"of %s"}`, m[1], m[0])}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			panic(err)
		}
	}
	url, drop := testenv.ExamplePostgres(withCases)
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		panic(err)
	}
	cfg = replay.Config{
		Client: []kgo.Opt{brokers}, Topics: []string{"cases"}, Pool: pool, Decode: decode,
		Tables: []postgres.Table{{Machine: notes, Name: "cases"}},
		Logger: slog.New(slog.DiscardHandler),
	}
	return cfg, func() {
		pool.Close()
		drop()
		cluster.Close()
	}
}

// A dry run says what would be applied. Then it is applied, and nothing is left to do.
func ExampleApply() {
	ctx := context.Background()
	cfg, end := shop(ctx)
	defer end()
	for _, do := range []func(context.Context, replay.Config) (*replay.Report, error){replay.DryRun, replay.Apply, replay.DryRun} {
		report, err := do(ctx, cfg)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %d records, %d applied, %d early, clean %t\n",
			report.Kind, report.Records, report.Of(versioning.Applied), report.Of(versioning.Early), report.Clean())
	}
	// Output:
	// dry run: 6 records, 5 applied, 1 early, clean false
	// apply: 6 records, 5 applied, 1 early, clean true
	// dry run: 6 records, 0 applied, 1 early, clean true
}

// Somebody has changed a row by hand. Verify finds it, and Rebuild replaces it.
func ExampleRebuild() {
	ctx := context.Background()
	cfg, end := shop(ctx)
	defer end()
	if _, err := replay.Apply(ctx, cfg); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := cfg.Pool.Exec(ctx, "UPDATE cases SET state = 'closed', note = 'by hand' WHERE id = 1"); err != nil {
		fmt.Println(err)
		return
	}

	cfg.Keep = true // for Rebuild
	report, err := replay.Verify(ctx, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range report.Verified.Differences {
		fmt.Println(d)
	}
	cfg.Keep = false
	report, err = replay.Rebuild(ctx, cfg, versioning.Entity{Machine: "notes", Key: "1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("replaced", report.Rebuilt.Entities)
	report, err = replay.Verify(ctx, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("clean", report.Clean())
	// Output:
	// notes 1: state, data (note)
	// replaced 1
	// clean true
}

// A group that has read everything begins at offset 2 again. Its workers must be stopped.
func ExampleMoveOffsets() {
	ctx := context.Background()
	cfg, end := shop(ctx)
	defer end()
	cfg.Group = "workers"
	cfg.From = replay.From{Offsets: map[string]map[int32]int64{"cases": {0: 2}}}
	fmt.Println("from the beginning:", cfg.From.IsBeginning())

	plan, err := replay.PlanOffsets(ctx, cfg)
	for _, m := range plan {
		fmt.Println("would move", m.Topic, m.Partition, "from", m.From, "to", m.To)
	}
	fmt.Println(err)
	fmt.Println("moved:", replay.MoveOffsets(ctx, cfg, plan))
	fmt.Println("again:", errors.Is(replay.MoveOffsets(ctx, cfg, plan), replay.ErrPlanChanged))
	plan, err = replay.PlanOffsets(ctx, cfg)
	fmt.Println("would move", plan, err)
	// Output:
	// from the beginning: false
	// would move cases 0 from -1 to 2
	// <nil>
	// moved: <nil>
	// again: true
	// would move [] <nil>
}
