package contend

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// table is the entity table of all contenders.
const table = "orders"

// runPawl runs a worker with the defaults of consumer.Config.
func runPawl(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	pool, err := pgxpool.New(ctx, job.DatabaseURL)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: machine, Name: table})
	if err != nil {
		return err
	}
	cfg := workerConfig(job, timedStore{store, m, job}, m)
	if job.Contender != PawlOTel {
		worker, err := consumer.New(cfg)
		if err != nil {
			return err
		}
		return worker.Run(ctx)
	}
	observer, stop, err := observe(ctx, job, store)
	if err != nil {
		return err
	}
	defer stop()
	cfg.Hooks = append(cfg.Hooks, observer)
	worker, err := consumer.New(cfg)
	if err == nil {
		err = observer.Watch(worker)
	}
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}

func workerConfig(job Job, store consumer.Store, m *meter) consumer.Config {
	return consumer.Config{
		Client: []kgo.Opt{kgo.SeedBrokers(job.Brokers...), kgo.WithHooks(m)},
		Group:  job.Group,
		Topics: []string{job.Topic},
		Store:  store,
		Decode: consumer.JSON(changesOf(job)),
		Hooks:  []consumer.Hook{batches{m}},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// changesOf returns how a worker turns messages into changes.
func changesOf(job Job) func(message traffic.Message, r *versioning.Record) ([]versioning.Change, error) {
	columns := traffic.Columns(job.Machine)
	switch {
	case columns == nil:
		return changes
	case job.Contender == PawlSet:
		return constants(columns)
	}
	return entries
}

// entries says what happened; the machine's functions compute the columns.
func entries(message traffic.Message, _ *versioning.Record) ([]versioning.Change, error) {
	change := versioning.Change{Key: message.Key, Event: message.Event, Data: traffic.Entry{Amount: message.Amount}}
	return []versioning.Change{change}, message.Check()
}

// constants sets the columns to values from the message: those that functions would change.
func constants(columns []string) func(message traffic.Message, _ *versioning.Record) ([]versioning.Change, error) {
	return func(message traffic.Message, _ *versioning.Record) ([]versioning.Change, error) {
		set := make(versioning.Columns, len(columns))
		if creates(message.Event) {
			for _, column := range columns {
				set[column] = int64(0)
			}
		}
		set[columns[traffic.ColumnOf(message.Event)]] = message.After
		return []versioning.Change{{Key: message.Key, Event: message.Event, Set: set}}, message.Check()
	}
}

func changes(message traffic.Message, _ *versioning.Record) ([]versioning.Change, error) {
	change := versioning.Change{Key: message.Key, Event: message.Event}
	if creates(message.Event) {
		change.Set = versioning.Columns{"customer": message.Customer, "total": message.Total}
	}
	return []versioning.Change{change}, message.Check()
}

// creates reports whether the event sets all of an entity's columns.
func creates(e statemachine.Event) bool {
	switch e {
	case "order.placed", "account.opened", traffic.PaymentAuthorized, traffic.WalletOpened:
		return true
	}
	return false
}

// batches reports settled batches to the meter.
type batches struct{ meter *meter }

func (b batches) BatchEnd(_ context.Context, batch consumer.Batch) {
	verdicts := make(map[string]int)
	for _, outcome := range batch.Outcomes {
		verdicts[outcome.Verdict.String()]++
	}
	b.meter.count(verdicts, Steps{batch.Decode.Seconds(), batch.Apply.Seconds()})
	if b.meter.job.Out == "" || b.meter.job.Contender != Pawl {
		b.meter.settle(len(batch.Records))
	}
}

// A timedStore notes when each transaction has committed.
type timedStore struct {
	*postgres.Store
	meter *meter
	job   Job
}

// FireTimers counts the timers that have moved their entity, if the job is about them.
func (s timedStore) FireTimers(ctx context.Context, limit int) (versioning.Fired, error) {
	if s.job.Timers {
		s.meter.start()
	}
	fired, err := s.Store.FireTimers(ctx, limit)
	if s.job.Timers {
		s.meter.settle(len(fired.Outcomes))
	}
	return fired, err
}

func (s timedStore) Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	result, err := s.Store.Apply(ctx, on, records)
	now := time.Now()
	for _, r := range records[:len(result.Outcomes)] {
		if s.job.Out != "" {
			s.meter.stepCommitted(r.Changes[0].Key+"/"+string(r.Changes[0].Event), now)
			continue
		}
		for _, h := range r.Headers {
			if h.Key == traffic.SentHeader {
				s.meter.committed(h.Value, now)
			}
		}
	}
	return result, err
}
