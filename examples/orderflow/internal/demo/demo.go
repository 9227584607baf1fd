// Package demo shows what a worker withstands: faulty traffic, a worker that is
// killed in the middle of it, and a replay of the whole topic. In the end it
// accounts for every record.
package demo

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/pawl-go/pawl/consumer"
)

// A Config says what to show, and on which servers.
type Config struct {
	Brokers     []string // none: an in-process broker
	DatabaseURL string   // empty: a PostgreSQL server of the demo's own
	Topic       string   // made and deleted by the demo; empty: "orders", or a unique name on real servers
	Keep        bool     // leave topic, groups and rows on real servers

	Orders         int
	Seed           uint64
	SessionTimeout time.Duration
	JSON           bool
	LogLevel       slog.Level

	Stdout, Stderr io.Writer

	// Migrate makes the tables.
	Migrate func(ctx context.Context, databaseURL string) error

	// Work runs one worker in this process, until ctx is done.
	Work func(ctx context.Context, job Job) error

	// Command returns the command line that runs the same worker in a process of
	// its own. The database URL comes in the environment, as DATABASE_URL, and
	// the process must end when its standard input does.
	Command func(job Job) (program string, args []string)
}

// A Job is what one worker is to do.
type Job struct {
	Name           string
	Brokers        []string
	DatabaseURL    string
	Topic          string
	Group          string
	SessionTimeout time.Duration
	Logger         *slog.Logger  // of a worker in this process
	Hook           consumer.Hook // of a worker in this process
}

// Run shows it all, and prints what came of it. It returns an error if anything
// was lost, counted twice or moved by the replay, or if the demo could not go
// on.
func Run(ctx context.Context, cfg Config) (err error) {
	started := time.Now()
	s, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = s.close(err) }()

	report, err := s.run(ctx)
	if err != nil {
		return err
	}
	report.Seconds = seconds(time.Since(started))
	if err := report.print(cfg); err != nil {
		return err
	}
	return report.verdict()
}

// run is the demo, act by act.
func (s *stage) run(ctx context.Context) (*Report, error) {
	report := newReport(s)
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
	found, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	report.reconcile(s.ledger, found)
	report.compare(before, after)
	return report, nil
}
