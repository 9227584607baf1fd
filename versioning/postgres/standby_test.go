package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestSilentStandby checks that Apply returns no verdict while the synchronous standby
// is silent: neither on records that it writes then, nor on the same records when they
// are redelivered and the rows of the previous attempt are found.
func TestSilentStandby(t *testing.T) {
	t.Parallel()
	server, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := createOrders(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	var l log
	records := []*versioning.Record{
		l.say("a", "placed"), l.say("b", "shipped"), l.say("c", "nosuch"), l.record(),
	}
	prepare(store, records)
	setStandby(t, pool, "*")
	for range 3 {
		wantNoVerdict(t, store, records)
		for _, r := range records {
			wantNoVerdict(t, store, []*versioning.Record{r})
		}
	}
	wantRows(t, pool, `SELECT id FROM orders`, "a")
	setStandby(t, pool, "")
	wantVerdicts(t, apply(t, store, records...), "duplicate", "early no_entity", "rejected unknown_event", "ignored")
}

// setStandby sets synchronous_standby_names. It waits until commits wait for the standby, which
// they do once the checkpointer has the setting.
func setStandby(t *testing.T, pool *pgxpool.Pool, names string) {
	t.Helper()
	mustExec(t, pool, `ALTER SYSTEM SET synchronous_standby_names = '`+names+`'`)
	mustExec(t, pool, `SELECT pg_reload_conf()`)
	testenv.Eventually(t, 10*time.Second, func() error {
		var now string
		err := pool.QueryRow(t.Context(), `SHOW synchronous_standby_names`).Scan(&now)
		if err == nil && now != names {
			err = errors.New("the setting has not arrived yet: " + now)
		}
		if err != nil || names == "" {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := pool.Exec(ctx, `SELECT pg_logical_emit_message(true, '', '')`); err == nil {
			return errors.New("a commit has not waited")
		}
		return nil
	})
}

func wantNoVerdict(t *testing.T, store *postgres.Store, records []*versioning.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	result, err := store.Apply(ctx, "", records)
	if err == nil || len(result.Outcomes) > 0 || versioning.CauseOf(err) != versioning.Infrastructure {
		t.Errorf("Apply of %d records = %v, %v while the standby is silent; want no verdict, and trouble",
			len(records), verdicts(result.Outcomes), err)
	}
}
