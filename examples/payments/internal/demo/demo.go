// Package demo runs workers on the faulty traffic of a payment provider while colleagues
// write to the same rows, kills one of the workers, replays the whole topic, and then
// accounts for every record, every write and every cent.
package demo

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/examples/payments/internal/expect"
)

// A Config says what to run.
type Config struct {
	Payments       int
	Accounts       int
	Seed           uint64
	SessionTimeout time.Duration
	LogLevel       slog.Level
	Stdout, Stderr io.Writer

	// Migrate creates the tables.
	Migrate func(ctx context.Context, databaseURL string) error

	// Work runs one worker in this process until ctx is done.
	Work func(ctx context.Context, job Job) error

	// Command returns the command line that runs the same worker in a separate process.
	// The process gets the database URL in the environment variable DATABASE_URL, and must
	// exit when its standard input is closed.
	Command func(job Job) (program string, args []string)

	// Inspect is called before the check. Tests use it to tamper with the database. nil
	// means none.
	Inspect func(ctx context.Context, databaseURL string) error
}

// A Job configures one worker.
type Job struct {
	Name           string
	Brokers        []string
	DatabaseURL    string
	Topic          string
	Group          string
	SessionTimeout time.Duration
	Logger         *slog.Logger  // only for a worker in this process
	Hook           consumer.Hook // only for a worker in this process
}

// Run runs the demo and prints the result. It returns the report, and an error if anything
// differs from what must be, or if the demo could not continue.
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	started := time.Now()
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = s.close(err) }()
	if report, err = s.run(ctx); err != nil {
		return nil, err
	}
	if err := report.print(cfg.Stdout, time.Since(started)); err != nil {
		return nil, err
	}
	err = report.verdict()
	return report, err
}

// run runs the demo, act by act.
func (s *stage) run(ctx context.Context) (*Report, error) {
	report := newReport(s.traffic)
	busy := startColleagues(ctx, s)
	defer func() { _ = busy.stop() }() // for the early returns
	if err := s.consume(ctx, report); err != nil {
		return nil, err
	}
	before, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.replay(ctx, report); err != nil {
		return nil, err
	}
	after, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if err := busy.stop(); err != nil {
		return nil, err
	}
	if s.cfg.Inspect != nil {
		if err := s.cfg.Inspect(ctx, s.databaseURL); err != nil {
			return nil, err
		}
	}
	found, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	report.reconcile(s.ledger, found, expect.Of(s.ledger))
	report.compareWrites(busy.written(), found.written)
	report.compareSnapshots(before, after)
	return report, nil
}
