// Package postgres has the SQL of package jobs.
package postgres

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Migrate creates or upgrades River's tables in a schema, and creates the schema if it does
// not exist. Empty means the first schema of the search_path. It runs under a lock.
func Migrate(ctx context.Context, databaseURL, schema string) error {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may give each transaction a different session
	config.MinConns, config.MinIdleConns, config.MaxConns = 0, 0, 2
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: schema})
	if err != nil {
		return fmt.Errorf("load River's migrations: %w", err)
	}
	err = locked(ctx, pool, schema, func() error {
		if schema != "" {
			if _, err := pool.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize()); err != nil {
				return err
			}
		}
		_, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("migrate River's tables: %w", err)
	}
	return nil
}

// locked runs work while no other call of locked for the schema runs. The lock belongs to a
// transaction, which keeps its session behind a pooler too.
func locked(ctx context.Context, pool *pgxpool.Pool, schema string, work func() error) error {
	h := fnv.New64a()
	_, _ = h.Write([]byte("pawl jobs migrate " + schema))
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0")
		if err == nil {
			_, err = tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(h.Sum64()))
		}
		if err != nil {
			return fmt.Errorf("wait for other migrations: %w", err)
		}
		return work()
	})
}
