package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// BenchmarkDo makes one change after another, and compares that with a transaction that
// somebody has written by hand: read the row, update it, add a row of history.
func BenchmarkDo(b *testing.B) {
	b.Run("do", func(b *testing.B) {
		pool := testenv.Pool(b, shopTemplate)
		store, err := postgres.Open(b.Context(), pool, postgres.Table{Machine: shopOrder, Name: "shop_orders"})
		if err != nil {
			b.Fatal(err)
		}
		oneByOne(b, func(ctx context.Context, key string, event statemachine.Event, id string) error {
			change := versioning.Change{Key: key, Event: event, MessageID: id}
			if event == "placed" {
				change.Set = versioning.Columns{"total": "129"}
			}
			o, err := store.Do(ctx, change)
			if err == nil && o.Verdict != versioning.Applied {
				err = fmt.Errorf("%v: %s", o.Verdict, o.Detail)
			}
			return err
		})
	})
	b.Run("by hand", func(b *testing.B) {
		pool := testenv.Pool(b, shopTemplate)
		if _, err := pool.Exec(b.Context(), `CREATE TABLE history (entity text NOT NULL, version bigint NOT NULL, event text NOT NULL,
			from_state text NOT NULL, to_state text NOT NULL, message_id text NOT NULL, at timestamptz NOT NULL DEFAULT now(),
			PRIMARY KEY (entity, version), UNIQUE (entity, message_id))`); err != nil {
			b.Fatal(err)
		}
		oneByOne(b, func(ctx context.Context, key string, event statemachine.Event, id string) error {
			return byHand(ctx, pool, key, event, id)
		})
	})
}

// oneByOne makes the changes of orders, one after the other.
func oneByOne(b *testing.B, do func(ctx context.Context, key string, event statemachine.Event, id string) error) {
	b.Helper()
	n := 0
	for b.Loop() {
		event := []statemachine.Event{"placed", "paid", "shipped"}[n%3]
		if err := do(b.Context(), fmt.Sprintf("order-%08d", n/3), event, fmt.Sprintf("message-%08d", n)); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

func byHand(ctx context.Context, pool *pgxpool.Pool, key string, event statemachine.Event, id string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var state string
		var version int64
		err := tx.QueryRow(ctx, `SELECT state, version FROM shop_orders WHERE id = $1`, key).Scan(&state, &version)
		if err != nil && event != "placed" {
			return err
		}
		to, legal := shopOrder.Fire(statemachine.State(state), event)
		if !legal {
			return fmt.Errorf("%s in %s", event, state)
		}
		if event == "placed" {
			_, err = tx.Exec(ctx, `INSERT INTO shop_orders (id, state, version, total) VALUES ($1, $2, 1, 129)`, key, to)
		} else {
			_, err = tx.Exec(ctx, `UPDATE shop_orders SET state = $2, version = $3 WHERE id = $1 AND state = $4 AND version = $5`, key, to, version+1, state, version)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO history (entity, version, event, from_state, to_state, message_id) VALUES ($1, $2, $3, $4, $5, $6)`,
			key, version+1, event, state, to, id)
		return err
	})
}
