package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A workerConfig configures a worker.
type workerConfig struct {
	brokers     []string
	databaseURL string
	topic       string
	group       string
	clientID    string

	// sessionTimeout is how long the group waits for a silent worker before it gives its
	// partitions to others. 0 means the client's default, 45 seconds.
	sessionTimeout time.Duration

	logger *slog.Logger
	hooks  []consumer.Hook
}

// work runs one worker until ctx is done. Any number of workers, in any number of
// processes, share the topic's partitions.
func work(ctx context.Context, cfg workerConfig) error {
	pool, err := pgxpool.New(ctx, cfg.databaseURL)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool,
		postgres.Table{Machine: Payment, Name: "payments.payments"},
		postgres.Table{Machine: Account, Name: "payments.accounts"})
	if err != nil {
		return err
	}
	worker, err := consumer.New(consumer.Config{
		Client: cfg.client(),
		Group:  cfg.group,
		Topics: []string{cfg.topic},
		Store:  store,
		Decode: decode,
		Logger: cfg.logger,
		Hooks:  cfg.hooks,
	})
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}

// client returns the options of the Kafka client. Add TLS and SASL here.
func (cfg workerConfig) client() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.brokers...),
		kgo.ClientID(cfg.clientID),
	}
	if cfg.sessionTimeout > 0 {
		opts = append(opts,
			kgo.SessionTimeout(cfg.sessionTimeout),
			kgo.HeartbeatInterval(cfg.sessionTimeout/6))
	}
	return opts
}
