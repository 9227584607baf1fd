package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/examples/orderflow/internal/provider"
	"github.com/pawl-go/pawl/internal/embedded"
)

// answerTimeout limits how long a server may take to answer the first time.
const answerTimeout = 5 * time.Second

// servers are the broker, the database and the payment provider that the demo uses.
type servers struct {
	brokers     []string
	databaseURL string
	real        bool // at least one of them is the user's

	client   *kgo.Client
	pool     *pgxpool.Pool
	provider *provider.Provider // always the demo's own
	close    []func() error     // in the order in which they were opened
}

// shut closes everything that is open, last opened first.
func (s *servers) shut() error {
	var errs []error
	for _, closeIt := range slices.Backward(s.close) {
		errs = append(errs, closeIt())
	}
	s.close = nil
	return errors.Join(errs...)
}

// openKafka starts a broker, or checks that the configured ones answer.
func (s *servers) openKafka(ctx context.Context, cfg Config, say narrator) error {
	s.brokers, s.real = cfg.Brokers, s.real || len(cfg.Brokers) > 0
	if len(cfg.Brokers) == 0 {
		// The group must notice a killed worker soon, so the broker must allow
		// short sessions. Kafka allows 6 seconds or more.
		kafka, err := embedded.StartKafka(embedded.KafkaConfig{
			Options: []kfake.Opt{kfake.GroupMinSessionTimeout(100 * time.Millisecond)},
		})
		if err != nil {
			return err
		}
		s.close = append(s.close, kafka.Close)
		s.brokers = kafka.Brokers()
		say("Kafka", "kfake, an in-process broker, on %s", strings.Join(s.brokers, ","))
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(s.brokers...),
		kgo.DialTimeout(answerTimeout),
		kgo.RecordDeliveryTimeout(30*time.Second))
	if err != nil {
		return fmt.Errorf("brokers %q: %w", strings.Join(s.brokers, ","), err)
	}
	s.client = client
	s.close = append(s.close, func() error { client.Close(); return nil })
	return s.awaitBroker(ctx, cfg, say)
}

func (s *servers) awaitBroker(ctx context.Context, cfg Config, say narrator) error {
	if len(cfg.Brokers) > 0 {
		say("Kafka", "%s", strings.Join(s.brokers, ","))
	}
	soon, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := s.client.Ping(soon)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("no Kafka broker answered at %s; check --brokers or KAFKA_BROKERS, "+
			"or omit both and the demo starts a broker: %w", strings.Join(s.brokers, ","), err)
	}
	return err
}

// openPostgres starts a server, or checks that the configured one answers.
func (s *servers) openPostgres(ctx context.Context, cfg Config, say narrator) error {
	s.databaseURL, s.real = cfg.DatabaseURL, s.real || cfg.DatabaseURL != ""
	if cfg.DatabaseURL == "" {
		postgres, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{})
		if err != nil {
			return err
		}
		s.close = append(s.close, postgres.Close)
		s.databaseURL = postgres.URL()
		say("PostgreSQL", "%s from %s, with its data in a temporary directory", postgres.Version(), postgres.BinDir())
	}
	pool, err := pgxpool.New(ctx, s.databaseURL)
	if err != nil {
		return fmt.Errorf("invalid database URL; check --database-url or DATABASE_URL: %w", err)
	}
	s.pool = pool
	s.close = append(s.close, func() error { pool.Close(); return nil })
	return s.awaitDatabase(ctx, cfg, say)
}

func (s *servers) awaitDatabase(ctx context.Context, cfg Config, say narrator) error {
	if cfg.DatabaseURL != "" {
		at := s.pool.Config().ConnConfig
		say("PostgreSQL", "database %s on %s, port %d", at.Database, at.Host, at.Port)
	}
	soon, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := s.pool.Ping(soon)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("connect to PostgreSQL; check --database-url or DATABASE_URL, "+
			"or omit both and the demo starts a server: %w", err)
	}
	return err
}

// openProvider starts the payment provider.
func (s *servers) openProvider(ctx context.Context, cfg Config, say narrator) (err error) {
	s.provider, err = provider.Start(ctx, "127.0.0.1:0", provider.Config{Faults: true, Seed: cfg.Seed})
	if err != nil {
		return err
	}
	s.close = append(s.close, s.provider.Close)
	say("Provider", "of payments, in this process, on %s; it is not reliable", s.provider.URL())
	return nil
}
