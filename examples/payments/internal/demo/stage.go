package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
	"github.com/pawl-go/pawl/internal/embedded"
)

const (
	partitions = 6
	topic      = "payments"
	firstGroup = "payment-workers"
)

// A stage is everything that a run of the demo works on.
type stage struct {
	cfg    Config
	out    *screen
	stderr *screen

	brokers     []string
	databaseURL string
	client      *kgo.Client
	admin       *kadm.Client
	pool        *pgxpool.Pool
	closers     []func() error // in the order in which things were opened

	topicID kadm.TopicID
	traffic traffic.Traffic
	ledger  []traffic.Sent // every record that was produced
	sent    atomic.Int64   // the length of the ledger, for the colleagues
}

// open starts the servers, creates the tables and the topic, and generates the traffic.
func open(ctx context.Context, cfg Config) (*stage, error) {
	writing := new(sync.Mutex)
	s := &stage{cfg: cfg, out: &screen{writing, cfg.Stdout}, stderr: &screen{writing, cfg.Stderr}}
	for _, step := range []func(context.Context) error{s.openKafka, s.openPostgres, s.createTopic} {
		if err := step(ctx); err != nil {
			return nil, s.close(err)
		}
	}
	s.traffic = traffic.Generate(traffic.Plan{Payments: cfg.Payments, Accounts: cfg.Accounts, Seed: cfg.Seed})
	return s, nil
}

// close closes everything that is open, last opened first.
func (s *stage) close(err error) error {
	errs := []error{err}
	for _, closeIt := range slices.Backward(s.closers) {
		errs = append(errs, closeIt())
	}
	return errors.Join(errs...)
}

// openKafka starts a broker in this process. The group must notice a killed worker soon, so
// the broker allows short sessions. Kafka allows 6 seconds or more.
func (s *stage) openKafka(context.Context) error {
	kafka, err := embedded.StartKafka(embedded.KafkaConfig{
		Options: []kfake.Opt{kfake.GroupMinSessionTimeout(100 * time.Millisecond)},
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, kafka.Close)
	s.brokers = kafka.Brokers()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.RecordDeliveryTimeout(30*time.Second))
	if err != nil {
		return err
	}
	s.client, s.admin = client, kadm.NewClient(client)
	s.closers = append(s.closers, func() error { client.Close(); return nil })
	s.say("Kafka", "kfake, an in-process broker, on %s", strings.Join(s.brokers, ","))
	return nil
}

func (s *stage) openPostgres(ctx context.Context) error {
	server, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, server.Close)
	s.databaseURL = server.URL()
	pool, err := pgxpool.New(ctx, s.databaseURL)
	if err != nil {
		return err
	}
	s.pool = pool
	s.closers = append(s.closers, func() error { pool.Close(); return nil })
	s.say("PostgreSQL", "%s from %s, with its data in a temporary directory", server.Version(), server.BinDir())
	return s.cfg.Migrate(ctx, s.databaseURL)
}

func (s *stage) createTopic(ctx context.Context) error {
	created, err := s.admin.CreateTopic(ctx, partitions, -1, nil, topic)
	if err != nil {
		return fmt.Errorf("create topic %q: %w", topic, err)
	}
	s.topicID = created.ID
	return nil
}

// say prints what the demo is doing, with a label.
func (s *stage) say(label, format string, args ...any) {
	const width = 12
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n"+strings.Repeat(" ", width))
	fmt.Fprintf(s.out, "%-*s%s\n", width, label, text)
}

func (s *stage) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s.stderr, &slog.HandlerOptions{Level: s.cfg.LogLevel}))
}

// A screen is a writer for several goroutines. Both screens share a mutex, because they may
// be one terminal.
type screen struct {
	mu  *sync.Mutex
	out io.Writer
}

// Write writes a line.
func (s *screen) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(line)
}
