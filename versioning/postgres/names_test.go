package postgres_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestNames checks that names of tables and columns do not conflict with the
// statements: names that the statements use, SQL keywords, quotes, upper case.
func TestNames(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	names := []string{
		"machine", "entity", "u", "n", "t", "h", "p", "taken", "first", "gone", "excluded", "from_state", "to_state", "from_version",
		"to_version", "val0", "set0", "message_id", "count", "true", "select", "order", "State", "VERSION", "ID", `quo"te`, "with space",
		"ünï", "semi;colon", "dot.ted", "$1", "%[1]s", "ctid2", "state2", "unnest", "?", "@name", ":name",
	}
	const table = `Sch"ema.My "Table; %s`
	ddl := `CREATE SCHEMA "Sch""ema"; CREATE TABLE "Sch""ema"."My ""Table; %s" (key text, state text NOT NULL, version bigint NOT NULL`
	for _, name := range names {
		ddl += ", " + pgx.Identifier{name}.Sanitize() + " text"
	}
	mustExec(t, pool, ddl+`, PRIMARY KEY (key))`)
	store := open(t, pool, postgres.Table{Machine: order, Name: table})
	var l log
	set := func(value string) versioning.Columns {
		columns := make(versioning.Columns)
		for _, name := range names {
			columns[name] = value + " " + name
		}
		return columns
	}
	for _, c := range []struct{ event, value string }{{"placed", "a"}, {"noted", "b"}} {
		wantVerdicts(t, apply(t, store, l.set("k", "placed", set("a")), l.set("k", "noted", set(c.value))), map[string][]string{
			"placed": {"applied", "applied"}, "noted": {"rejected illegal", "applied"},
		}[c.event]...)
		for _, name := range names {
			wantRows(t, pool, `SELECT `+pgx.Identifier{name}.Sanitize()+` FROM "Sch""ema"."My ""Table; %s"`, c.value+" "+name)
		}
	}
	wantVerdicts(t, apply(t, store, l.say("late", "captured")), "early no_entity")
	wantVerdicts(t, apply(t, store, l.say("late", "placed"), l.set("late", "shipped", versioning.Columns{"STATE": 1})),
		"applied", "rejected invalid_column") // the column State is a different column
	for _, managed := range []string{"key", "state", "version"} {
		wantVerdicts(t, apply(t, store, l.set("k", "noted", versioning.Columns{managed: "x"})), "rejected invalid_column")
	}
	if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Error(err)
	}
	wantRows(t, pool, `SELECT key || state || version FROM "Sch""ema"."My ""Table; %s" ORDER BY key`, "kpending3", "latepaid2")

	mustExec(t, pool, `CREATE TABLE "dot.ted" (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: "dot.ted"})
	if diff := cmp.Diff([]string{"dot.ted"}, problemsOf(err)); diff != "" {
		t.Errorf("a table with a dot in its name (-want, +got):\n%s", diff)
	}
}

// TestManagedColumnsOfOtherNames checks managed columns that have the default names of
// other managed columns.
func TestManagedColumnsOfOtherNames(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE t ("u" text PRIMARY KEY, "key" text NOT NULL, "n" bigint NOT NULL, id text, state text, version text)`)
	store := open(t, pool, postgres.Table{Machine: order, Name: "t", State: "key", Version: "n"})
	var l log
	set := versioning.Columns{"id": "i", "state": "s", "version": "v"}
	wantVerdicts(t, apply(t, store, l.set("a", "placed", set)), "applied")
	wantVerdicts(t, apply(t, store, l.set("a", "captured", set), l.set("a", "shipped", versioning.Columns{"u": "b"})), "applied", "rejected invalid_column")
	wantRows(t, pool, `SELECT t::text FROM t`, "(a,paid,2,i,s,v)")
}

// TestSearchPathOfConnections checks that a store writes to the table that Open found,
// whatever a connection's search_path is later, and that Open rejects a temporary
// table.
func TestSearchPathOfConnections(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	const columns = ` (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`
	mustExec(t, direct, `CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t`+columns+`; CREATE TABLE b.t`+columns+`;
CREATE TABLE b.transitions (x int); CREATE FUNCTION b.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT NULL::text';
CREATE DOMAIN b.guarded AS text`)
	config := direct.Config()
	var connections atomic.Int32
	temporary := false
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		path := "a"
		if connections.Add(1) > 1 {
			path = "b, a"
		}
		sql := `SET search_path = ` + path
		if temporary {
			sql = `CREATE TEMP TABLE t` + columns
		}
		_, err := conn.Exec(ctx, sql)
		return err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store := open(t, pool, postgres.Table{Machine: order, Name: "t"})
	var l log
	for i := range 5 {
		pool.Reset()
		wantVerdicts(t, apply(t, store, l.say(fmt.Sprint(i), "captured"), l.say(fmt.Sprint(i), "placed")), "applied", "applied")
	}
	wantRows(t, direct, `SELECT state FROM a.t`, repeat("paid", 5)...)
	wantRows(t, direct, `SELECT state FROM b.t`)

	temporary = true
	pool.Reset()
	_, err = postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: "t"})
	if diff := cmp.Diff([]string{"t"}, problemsOf(err)); diff != "" {
		t.Errorf("a temporary table (-want, +got):\n%s\n%v", diff, err)
	}
}

// TestPartitionsAndHeirs checks tables whose rows are in partitions or inheriting
// tables.
func TestPartitionsAndHeirs(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `
CREATE TABLE t (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL);
CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (t);
INSERT INTO heir VALUES ('h', 'pending', 1);
CREATE TABLE r (id bigint PRIMARY KEY, state text NOT NULL, version bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10);
CREATE TABLE r2 PARTITION OF r FOR VALUES FROM (10) TO (20)`)
	store := open(t, pool, postgres.Table{Machine: order, Name: "t"})
	var l log
	wantVerdicts(t, apply(t, store, l.say("h", "captured"), l.say("h", "shipped"), l.say("x", "placed"), l.say("h", "placed")),
		"applied", "applied", "applied", "rejected illegal")
	wantRows(t, pool, `SELECT id||state||version FROM ONLY t`, "xpending1")
	wantRows(t, pool, `SELECT id||state||version FROM heir`, "hshipped3")
	mustExec(t, pool, `INSERT INTO heir VALUES ('x', 'pending', 1)`) // the key is not unique across both tables
	records := []*versioning.Record{l.say("x", "captured")}
	prepare(store, records)
	if result, err := store.Apply(t.Context(), "", records); err == nil || len(result.Outcomes) > 0 {
		t.Errorf("an entity of two rows: %v, %v; want an error and no verdict", verdicts(result.Outcomes), err)
	}
	wantRows(t, pool, `SELECT state FROM t WHERE id = 'x'`, "pending", "pending")

	mustExec(t, pool, `TRUNCATE pawl.transitions, pawl.tables`)
	store = open(t, pool, postgres.Table{Machine: order, Name: "r"})
	wantVerdicts(t, apply(t, store, l.say("5", "placed"), l.say("15", "placed"), l.say("25", "placed"), l.say("15", "captured")),
		"applied", "applied", "rejected constraint", "applied") // the third row fits no partition
	wantRows(t, pool, `SELECT tableoid::regclass || ' ' || id || state FROM r ORDER BY id`, "r1 5pending", "r2 15paid")
}
