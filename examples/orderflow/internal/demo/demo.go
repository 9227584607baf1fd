// Package demo runs workers on faulty traffic and with an unreliable payment
// provider, kills one of them, replays the whole topic, and then accounts for
// every record, payment and shipment.
package demo

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/pawl-go/pawl/consumer"
)

// A Config says what to run, and on which servers.
type Config struct {
	Brokers     []string // empty: an in-process broker
	DatabaseURL string   // empty: the demo starts a PostgreSQL server
	Topic       string   // the demo creates and deletes it; empty: "orders", or a unique name on the user's servers
	Keep        bool     // keep the topic, groups and rows on the user's servers

	Orders         int
	Seed           uint64
	SessionTimeout time.Duration
	JSON           bool
	LogLevel       slog.Level

	Stdout, Stderr io.Writer

	// Migrate creates the tables.
	Migrate func(ctx context.Context, databaseURL string) error

	// Work runs one worker of the orders in this process until ctx is done, and Carry
	// one of the shipments.
	Work, Carry func(ctx context.Context, job Job) error

	// Command returns the command line that runs the same worker in a separate
	// process. The process gets the database URL in the environment variable
	// DATABASE_URL, and must exit when its standard input is closed.
	Command func(job Job) (program string, args []string)
}

// A Job configures one worker.
type Job struct {
	Name           string
	Brokers        []string
	DatabaseURL    string
	Topic          string
	Group          string
	Shipments      string        // the topic to announce shipments on
	Provider       string        // the URL of the payment provider
	PayWithin      time.Duration // after that, unpaid orders expire
	CallTimeout    time.Duration // of calls to the provider
	SessionTimeout time.Duration
	Logger         *slog.Logger  // only for a worker in this process
	Hook           consumer.Hook // only for a worker in this process
}

// Run runs the demo and prints the result. It returns an error if something does
// not add up, or if the demo could not continue.
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

// run runs the demo, act by act.
func (s *stage) run(ctx context.Context) (*Report, error) {
	report := newReport(s)
	if err := s.consume(ctx, report); err != nil {
		return nil, err
	}
	asked := s.provider.Ledger().Requests
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
	report.reconcileOutputs(found)
	report.compare(before, after)
	report.silent(asked, found)
	return report, nil
}
