package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// raiseByNote creates a trigger on orders that fails with the SQLSTATE in the note.
const raiseByNote = `
CREATE FUNCTION raise_note() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = new.note; END $$;
CREATE TRIGGER raise_note BEFORE INSERT ON orders FOR EACH ROW WHEN (new.note IS NOT NULL) EXECUTE FUNCTION raise_note()`

// TestRaisedCodes checks that a record is rejected for a code that a function made up,
// and that the other records are applied.
func TestRaisedCodes(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	mustExec(t, pool, raiseByNote)
	for i, code := range []string{"ORD01", "45000"} {
		l := log{next: int64(i) * 100}
		records := make([]*versioning.Record, 5)
		for _, bad := range []int{0, 2} {
			for j := range records {
				records[j] = l.say(fmt.Sprint(code, "-", bad, "-", j), "placed")
			}
			records[bad].Changes[0].Set = versioning.Columns{"note": code}
			want := repeat("applied", len(records))
			want[bad] = "rejected constraint"
			wantVerdicts(t, apply(t, store, records...), want...)
		}
	}
	wantRows(t, pool, `SELECT DISTINCT count(*)::text FROM pawl.dead_letters`, "4")
}

// TestBrokenTriggers checks that a record is rejected if a trigger fails for it but not
// for other records, whatever the SQLSTATE.
func TestBrokenTriggers(t *testing.T) {
	t.Parallel()
	for code, body := range map[string]string{
		"55000": `DECLARE r record; BEGIN new.note := r.x; RETURN new; END`,
		"2D000": `BEGIN COMMIT; RETURN new; END`,
		"0Z002": `DECLARE s text; BEGIN GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE; RETURN new; END`,
		"25001": `BEGIN EXECUTE 'VACUUM'; RETURN new; END`,
		"55006": `BEGIN ALTER TABLE thing ADD more int; RETURN new; END`,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			pool := createThing(t, `note text`, `
CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ `+body+` $$;
CREATE TRIGGER broken BEFORE INSERT ON thing FOR EACH ROW WHEN (new.note IS NOT NULL) EXECUTE FUNCTION broken()`)
			wantThirdRejected(t, openThing(t, pool), versioning.Columns{"note": "x"}, code)
		})
	}
}

// TestPublishedWithoutIdentity checks that records are not rejected if their table is
// published without a replica identity, which makes updates fail but not inserts.
func TestPublishedWithoutIdentity(t *testing.T) {
	t.Parallel()
	pool := createThing(t, ``, ``)
	store := openThing(t, pool)
	var l log
	apply(t, store, l.event("a", "made", nil))
	mustExec(t, pool, `ALTER TABLE thing REPLICA IDENTITY NOTHING; CREATE PUBLICATION rows FOR TABLE thing`)
	records := []*versioning.Record{l.event("b", "made", nil), l.event("a", "touch", nil)}
	prepare(store, records)
	result, err := store.Apply(t.Context(), "", records)
	if versioning.CauseOf(err) != versioning.Infrastructure {
		t.Errorf("Apply = %v, %v; want trouble", verdicts(result.Outcomes), err)
	}
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`)
}

// TestTroubleGivesNoVerdict checks that an error that is not known to be about a record
// makes no dead letters.
func TestTroubleGivesNoVerdict(t *testing.T) {
	t.Parallel()
	for code, cause := range map[string]versioning.Cause{
		"42501": versioning.Fatal, "XX000": versioning.Infrastructure, "53100": versioning.Infrastructure,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			mustExec(t, pool, raiseByNote)
			var l log
			for _, n := range []int{1, 20} {
				records := make([]*versioning.Record, n)
				for i := range records {
					records[i] = l.set(key(i), "placed", versioning.Columns{"note": code})
				}
				prepare(store, records)
				result, err := store.Apply(t.Context(), "", records)
				if len(result.Outcomes) > 0 || versioning.CauseOf(err) != cause {
					t.Errorf("Apply of %d = %v, %v; want no verdict, and an error that is %v", n, verdicts(result.Outcomes), err, cause)
				}
			}
			wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`)
		})
	}
}

// TestReadOnlyConnections checks that a store whose connections were made while the
// server was read-only can write once new connections can.
func TestReadOnlyConnections(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	database := pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()
	mustExec(t, pool, `ALTER DATABASE `+database+` SET default_transaction_read_only = on`)
	late, err := pgxpool.NewWithConfig(t.Context(), pool.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(late.Close)
	conns := []*pgxpool.Conn{acquire(t, late), acquire(t, late), acquire(t, late)}
	for _, conn := range conns {
		conn.Release()
	}
	store := open(t, late, postgres.Table{Machine: order, Name: "orders"})
	var l log
	records := []*versioning.Record{l.say("a", "placed")}
	prepare(store, records)
	if _, err := store.Apply(t.Context(), "", records); versioning.CauseOf(err) != versioning.Infrastructure {
		t.Fatalf("Apply on a read-only server: %v, want trouble", err)
	}
	mustExec(t, pool, `ALTER DATABASE `+database+` RESET default_transaction_read_only`)
	if _, err := store.Apply(t.Context(), "", records); err != nil {
		t.Errorf("Apply after the switch: %v", err)
	}
}

func acquire(t *testing.T, pool *pgxpool.Pool) *pgxpool.Conn {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestLockTimeout checks that a batch that exceeds lock_timeout is split: all records
// are settled except the one of the locked row.
func TestLockTimeout(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, _ := traced(t, pool, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["lock_timeout"] = "50" })
	var l log
	records := make([]*versioning.Record, 20)
	for i := range records {
		records[i] = l.say(key(i), "placed")
	}
	last := len(records) - 1
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `INSERT INTO orders VALUES ($1, 'pending', 1)`, key(last)); err != nil {
		t.Fatal(err)
	}
	prepare(store, records)
	result, err := store.Apply(t.Context(), "", records)
	if len(result.Outcomes) != last || versioning.CauseOf(err) != versioning.Infrastructure {
		t.Errorf("%d verdicts, %v; want all except for the locked row, and trouble", len(result.Outcomes), err)
	}
}

// TestIdleInTransaction checks that a batch is split if the server ends its transaction
// because it was idle for too long.
func TestIdleInTransaction(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, tr := traced(t, pool, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "200"
	})
	attempts := 0
	tr.before(func(_ context.Context, conn *pgx.Conn) {
		if attempts++; attempts > 1 {
			return
		}
		testenv.Eventually(t, 10*time.Second, func() error {
			var n int
			err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, conn.PgConn().PID()).Scan(&n)
			if err == nil && n > 0 {
				err = errors.New("the session goes on")
			}
			return err
		})
	})
	var l log
	records := make([]*versioning.Record, 20)
	for i := range records {
		records[i] = l.say(key(i), "placed")
	}
	wantVerdicts(t, apply(t, store, records...), repeat("applied", len(records))...)
}
