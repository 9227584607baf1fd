package postgres_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestCauseOfRealTrouble gets its errors from PostgreSQL.
func TestCauseOfRealTrouble(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	try := func(store *postgres.Store) versioning.Cause {
		r := l.say("a", "placed")
		store.Prepare(r)
		result, err := store.Apply(t.Context(), "", []*versioning.Record{r})
		if err == nil || len(result.Outcomes) > 0 {
			t.Errorf("Apply = %v, %v; want an error", result, err)
		}
		return versioning.CauseOf(err)
	}
	readOnly, _ := traced(t, pool, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	})
	if got := try(readOnly); got != versioning.Infrastructure {
		t.Errorf("a server that was demoted: %v", got)
	}
	slow, _ := traced(t, pool, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["lock_timeout"] = "10" })
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO orders VALUES ('a', 'pending', 1)`); err != nil {
		t.Fatal(err)
	}
	if got := try(slow); got != versioning.Infrastructure {
		t.Errorf("a lock timeout: %v", got)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustExec(t, pool, `DROP TABLE orders`)
	if got := try(store); got != versioning.Infrastructure { // the table may come back: a migration may be running
		t.Errorf("a dropped table: %v", got)
	}

	open := func(change func(*pgx.ConnConfig)) error {
		config := pool.Config()
		change(config.ConnConfig)
		elsewhere, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer elsewhere.Close()
		_, err = postgres.Open(t.Context(), elsewhere, postgres.Table{Machine: order, Name: "orders"})
		return err
	}
	if err := open(func(c *pgx.ConnConfig) { c.Database = "nosuch" }); !errors.Is(err, versioning.ErrFatal) {
		t.Errorf("a database that does not exist: %v", err)
	}
	if err := open(func(c *pgx.ConnConfig) { c.Host, c.Port, c.Fallbacks = "127.0.0.1", 1, nil }); !errors.Is(err, versioning.ErrInfrastructure) {
		t.Errorf("a server that does not answer: %v", err)
	}
}
