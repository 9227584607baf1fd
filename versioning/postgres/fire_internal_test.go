package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
)

var withReminders = testenv.Template("reminders", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = pool.Exec(ctx, `CREATE TABLE reminders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	return err
})

func openReminders(t *testing.T) (*pgxpool.Pool, *Store) {
	t.Helper()
	pool := testenv.Pool(t, withReminders)
	store, err := Open(t.Context(), pool, Table{Name: "reminders", Machine: statemachine.MustCompile(statemachine.Definition{
		Name: "reminder", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "set", To: "set"},
			{Event: "rang", From: statemachine.In("set"), To: "done", After: time.Hour},
		},
		Terminal: statemachine.In("done"),
	})})
	if err != nil {
		t.Fatal(err)
	}
	return pool, store
}

func run(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

const insertReminder = `INSERT INTO reminders SELECT 'a', 'set', 1;
INSERT INTO pawl.timers (due, n, tries, machine, event, entities, versions)
	SELECT now() - interval '10 minutes', 1, 0, 'reminder', 'rang', '{a}', '{1}'`

// A row that became visible long after its transaction began is found, even though the store
// no longer looks for rows that old: not at once, but soon.
func TestVeryLateTimersAreFound(t *testing.T) {
	t.Parallel()
	pool, store := openReminders(t)
	fires := func(want int) {
		t.Helper()
		fired, err := store.FireTimers(t.Context(), 0)
		if err != nil || len(fired.Outcomes) != want {
			t.Errorf("fired %+v, %v; want %d", fired.Outcomes, err, want)
		}
	}
	fires(0)
	run(t, pool, insertReminder)
	fires(0)
	store.watch.full = time.Now().Add(-lookAtAll) // that much time later
	fires(1)
	run(t, pool, `DELETE FROM pawl.timers`)
}

// An overdue row that others have locked, or that nobody has fired yet, stays in view.
func TestOverdueTimersStayInView(t *testing.T) {
	t.Parallel()
	pool, store := openReminders(t)
	run(t, pool, insertReminder)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM pawl.timers FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if fired, err := store.FireTimers(t.Context(), 0); err != nil || len(fired.Outcomes) != 0 || fired.More {
			t.Errorf("fired %+v, %v", fired, err)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fired, err := store.FireTimers(t.Context(), 0); err != nil || len(fired.Outcomes) != 1 {
		t.Errorf("fired %+v, %v", fired, err)
	}
}

// While somebody holds a snapshot, the index keeps what has fired. A look does not visit it.
func TestLooksStayCheap(t *testing.T) {
	t.Parallel()
	pool, store := openReminders(t)
	reader, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Rollback(context.Background()) }()
	if _, err := reader.Exec(t.Context(), `SELECT FROM pawl.timers`); err != nil {
		t.Fatal(err)
	}
	run(t, pool, `INSERT INTO pawl.timers (due, n, tries, machine, event, entities, versions)
		SELECT now() - interval '10 minutes' - i * interval '1 ms', 1, 0, 'reminder', 'rang', '{a}', '{1}' FROM generate_series(1, 20000) AS i`)
	run(t, pool, `DELETE FROM pawl.timers`)
	s := store.snapshot.Load()
	visits := func() int {
		t.Helper()
		since := store.watch.begin(s)
		var blocks int
		for _, sql := range []pawlSQL{nextTimersSQL, claimTimersSQL} {
			args := []any{s.machines(), since}
			if sql == claimTimersSQL {
				args = append(args, maxFired, maxTimerRows)
			}
			blocks += blocksOf(t, pool, string(sql), args...)
		}
		return blocks
	}
	if n := visits(); n < 100 {
		t.Fatalf("the first look visits only %d blocks, so this test shows nothing", n)
	}
	if look, err := store.watch.look(t.Context(), s); err != nil || look.due {
		t.Fatal(look, err)
	}
	if n := visits(); n > 20 {
		t.Errorf("the second look visits %d blocks", n)
	}
}

// blocksOf returns how many blocks a statement visits, with the settings of the store.
func blocksOf(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) int {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), settingsSQL); err != nil {
		t.Fatal(err)
	}
	var plan []struct {
		Plan struct {
			Blocks int `json:"Shared Hit Blocks"`
		} `json:"Plan"`
	}
	if err := tx.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) `+sql, args...).Scan(&plan); err != nil {
		t.Fatal(err)
	}
	return plan[0].Plan.Blocks
}
