package model_test

import (
	"context"
	"errors"
	"flag"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var schema = testenv.Template("model", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE things (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	return errors.Join(err, conn.Close(ctx))
})

// TestPostgres is TestFramework with PostgreSQL as the store, and a fiftieth of
// the cases.
func TestPostgres(t *testing.T) {
	fewer(t, 50)
	for _, draw := range drawings {
		t.Run(draw.name, func(t *testing.T) {
			pool := testenv.Pool(t, schema)
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t, draw, func(t *rapid.T, rules versioning.Rules) store { return openPostgres(t, pool, rules) })
				w.run(t)
				w.check(t)
			})
		})
	}
}

// fewer divides the number of cases for one test.
func fewer(t *testing.T, by uint64) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	all := checks.Value.(flag.Getter).Get()
	n, ok := all.(int)
	if !ok {
		t.Fatalf("-rapid.checks is a %T", all)
	}
	set := func(n int) {
		if err := flag.Set("rapid.checks", strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
	set(max(1, n/int(by)))
	t.Cleanup(func() { set(n) })
}

type inPostgres struct {
	*postgres.Store

	pool  *pgxpool.Pool
	table string
}

func openPostgres(t *rapid.T, pool *pgxpool.Pool, rules versioning.Rules) store {
	empty := `DELETE FROM things; DELETE FROM pawl.transitions; DELETE FROM pawl.parked; DELETE FROM pawl.dead_letters; DELETE FROM pawl.machines`
	if _, err := pool.Exec(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), pool, postgres.Table{
		Machine: rules.Machine, Name: "things", Identity: rules.Identity, MaxParked: rules.MaxParked,
	})
	if err != nil {
		t.Fatal(err)
	}
	return inPostgres{s, pool, "things"}
}

func (p inPostgres) look(t *rapid.T) found {
	f := newFound()
	var key, state, event, id, verdict, reason string
	var at place
	var version int64
	p.each(t, `SELECT id, state, version FROM `+p.table, []any{&key, &state, &version}, func() {
		f.Rows[key] = row{State: statemachine.State(state), Version: version}
	})
	p.each(t, `SELECT entity, event, to_state, message_id, partition, "offset" FROM pawl.transitions ORDER BY version`,
		[]any{&key, &event, &state, &id, &at.Partition, &at.Offset}, func() {
			f.History[key] = append(f.History[key], model.Step{
				Event: statemachine.Event(event), To: statemachine.State(state), ID: id,
				Origin: versioning.Origin{Topic: "t", Partition: at.Partition, Offset: at.Offset},
			})
		})
	p.each(t, `SELECT partition, "offset", entity FROM pawl.parked`, []any{&at.Partition, &at.Offset, &key}, func() { f.Parked[at] = key })
	p.each(t, `SELECT partition, "offset", verdict, reason, entity FROM pawl.dead_letters`,
		[]any{&at.Partition, &at.Offset, &verdict, &reason, &key}, func() {
			fate := model.Fate{Verdict: versioning.Rejected, Reason: versioning.Reason(reason), Key: key}
			if verdict == versioning.Diverged.String() {
				fate.Verdict = versioning.Diverged
			}
			f.Dead[at] = fate
		})
	return f
}

func (p inPostgres) each(t *rapid.T, query string, into []any, do func()) {
	rows, err := p.pool.Query(t.Context(), query)
	if err == nil {
		_, err = pgx.ForEachRow(rows, into, func() error { do(); return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
}
