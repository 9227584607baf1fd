package postgres_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// problemsOf returns "table.column" of every TableError in err.
func problemsOf(err error) (problems []string) {
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
	case nil:
	case *postgres.TableError:
		problems = append(problems, strings.TrimSuffix(e.Table+"."+e.Column, "."))
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			problems = append(problems, problemsOf(one)...)
		}
	case interface{ Unwrap() error }:
		problems = problemsOf(e.Unwrap())
	}
	return problems
}

func TestOpenReportsEveryMismatch(t *testing.T) { //nolint:tparallel // the cases share a database
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `
CREATE COLLATION ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE half AS ENUM ('pending', 'paid');
CREATE DOMAIN half_domain AS half;
CREATE DOMAIN tiny AS varchar(4)`)
	const fine = `id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL`
	for _, c := range []struct {
		name, ddl string
		table     postgres.Table
		want      []string
		says      string
	}{
		{"no table", ``, postgres.Table{}, []string{"t"}, "does not exist"},
		{"no such schema", ``, postgres.Table{Name: "nosuch.t"}, []string{"nosuch.t"}, "does not exist"},
		{"a view", `CREATE VIEW t AS SELECT 1`, postgres.Table{}, []string{"t"}, "not a table"},
		{"no columns", `CREATE TABLE t ()`, postgres.Table{}, []string{"t", "t.state", "t.version"}, "primary key"},
		{"named columns", `CREATE TABLE t ()`, postgres.Table{Key: "k", State: "s", Version: "v"}, []string{"t.k", "t.s", "t.v"}, "does not exist"},
		{"wrong types", `CREATE TABLE t (id date PRIMARY KEY, state int NOT NULL, version text NOT NULL)`, postgres.Table{}, []string{"t.id", "t.state", "t.version"}, "a version is"},
		{"key of two columns", `CREATE TABLE t (id text, b text, state text NOT NULL, version bigint NOT NULL, PRIMARY KEY (id, b))`, postgres.Table{}, []string{"t"}, "no primary key of one column"},
		{"key not unique", `CREATE TABLE t (id text, state text NOT NULL, version bigint NOT NULL)`, postgres.Table{Key: "id"}, []string{"t.id"}, "not unique"},
		{"unique in part", `CREATE TABLE t (id text, state text NOT NULL, version bigint NOT NULL); CREATE UNIQUE INDEX ON t (id) WHERE version > 1`, postgres.Table{Key: "id"}, []string{"t.id"}, "partial"},
		{"unique later", `CREATE TABLE t (id text UNIQUE DEFERRABLE, state text NOT NULL, version bigint NOT NULL)`, postgres.Table{Key: "id"}, []string{"t.id"}, "deferrable"},
		{"unique expression", `CREATE TABLE t (id text, state text NOT NULL, version bigint NOT NULL); CREATE UNIQUE INDEX ON t (lower(id))`, postgres.Table{Key: "id"}, []string{"t.id"}, "not unique"},
		{"nullable", `CREATE TABLE t (id text PRIMARY KEY, state text, version bigint)`, postgres.Table{}, []string{"t.state", "t.version"}, "NULL"},
		{"enum", `CREATE TABLE t (id text PRIMARY KEY, state half NOT NULL, version bigint NOT NULL)`, postgres.Table{}, []string{"t.state"}, "shipped, delivered, cancelled"},
		{"domain over enum", `CREATE TABLE t (id text PRIMARY KEY, state half_domain NOT NULL, version bigint NOT NULL)`, postgres.Table{}, []string{"t.state"}, "shipped, delivered, cancelled"},
		{"short varchar", `CREATE TABLE t (id text PRIMARY KEY, state varchar(8) NOT NULL, version bigint NOT NULL)`, postgres.Table{}, []string{"t.state", "t.state"}, "longer than 8"},
		{"short domain", `CREATE TABLE t (id text PRIMARY KEY, state tiny NOT NULL, version bigint NOT NULL)`, postgres.Table{}, slices.Repeat([]string{"t.state"}, 4), "longer than 4"},
		{"character", `CREATE TABLE t (id char(5) PRIMARY KEY, state char(10) NOT NULL, version bigint NOT NULL)`, postgres.Table{}, []string{"t.id", "t.state"}, "a key is"},
		{"collation", `CREATE TABLE t (id text COLLATE ignore_case PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`, postgres.Table{}, []string{"t.id"}, "nondeterministic"},
		{"generated", `CREATE TABLE t (id text PRIMARY KEY, base text, state text NOT NULL GENERATED ALWAYS AS (base) STORED, version bigint NOT NULL GENERATED ALWAYS AS IDENTITY)`, postgres.Table{}, []string{"t.state", "t.version"}, "generated"},
		{"generated key", `CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`, postgres.Table{}, []string{"t.id"}, "generated"},
		{"key and state", `CREATE TABLE t (id text PRIMARY KEY, version bigint NOT NULL)`, postgres.Table{State: "id"}, []string{"t.id"}, "both the key and the state"},
		{"key and version", `CREATE TABLE t (id bigint PRIMARY KEY, state text NOT NULL)`, postgres.Table{Version: "id"}, []string{"t.id"}, "both the key and the version"},
		{"unlogged", `CREATE UNLOGGED TABLE t (` + fine + `)`, postgres.Table{}, []string{"t"}, "SET LOGGED"},
		{"fine", `CREATE TABLE t (` + fine + `)`, postgres.Table{}, nil, ""},
		{"fine with a unique index", `CREATE TABLE t (no serial PRIMARY KEY, id text, state text NOT NULL, version integer NOT NULL); CREATE UNIQUE INDEX ON t (id) INCLUDE (no)`, postgres.Table{Key: "id"}, nil, ""},
		{"fine, partitioned", `CREATE TABLE t (` + fine + `) PARTITION BY HASH (id)`, postgres.Table{}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.ddl != "" {
				mustExec(t, pool, c.ddl)
			}
			table := c.table
			table.Machine = order
			if table.Name == "" {
				table.Name = "t"
			}
			_, err := postgres.Open(t.Context(), pool, table)
			if diff := cmp.Diff(c.want, problemsOf(err)); diff != "" {
				t.Errorf("problems (-want, +got):\n%s\n%v", diff, err)
			}
			if len(c.want) > 0 && (!errors.Is(err, postgres.ErrTable) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("error does not say %q, or is not ErrTable: %v", c.says, err)
			}
			if strings.Contains(c.ddl, "VIEW") {
				mustExec(t, pool, `DROP VIEW t`)
			}
			mustExec(t, pool, `DROP TABLE IF EXISTS t`)
		})
	}
}

func TestOpenReportsAllTablesAtOnce(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	mustExec(t, pool, `CREATE TABLE a (id text PRIMARY KEY, state text, version bigint NOT NULL)`)
	other := statemachine.MustCompile(statemachine.Definition{
		Name: "other", Version: 1, Transitions: []statemachine.Transition{{Event: "e", To: "s"}}, Terminal: statemachine.In("s"),
	})
	_, err := postgres.Open(t.Context(), pool,
		postgres.Table{Machine: order, Name: "a"}, postgres.Table{Machine: other, Name: "b"})
	if diff := cmp.Diff([]string{"a.state", "b"}, problemsOf(err)); diff != "" {
		t.Errorf("problems (-want, +got):\n%s\n%v", diff, err)
	}
	if schema, ok := errors.AsType[*migrations.SchemaError](err); !ok || schema.Have != 0 {
		t.Errorf("error has no SchemaError for a missing schema: %v", err)
	}
}

func TestOpenValidates(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	for _, c := range []struct {
		name   string
		pool   *pgxpool.Pool
		tables []postgres.Table
		says   []string
	}{
		{"no pool", nil, nil, []string{"pool is nil"}},
		{"no table", pool, nil, []string{"no table"}},
		{"all at once", pool, []postgres.Table{
			{Name: "x"}, {Machine: order}, {Machine: order, Name: "y", Identity: versioning.ByState, MaxParked: -1},
		}, []string{`"x"`, "no Name", "two tables", "identity ByState", "MaxParked"}},
	} {
		_, err := postgres.Open(t.Context(), c.pool, c.tables...)
		for _, say := range c.says {
			if err == nil || !strings.Contains(err.Error(), say) {
				t.Errorf("%s: error does not say %q: %v", c.name, say, err)
			}
		}
	}
	if _, ok := errors.AsType[*statemachine.IdentityError](func() error {
		_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: "y", Identity: versioning.ByState})
		return err
	}()); !ok {
		t.Error("Open returns no IdentityError for a machine that can't use ByState")
	}
}

func TestOpenChecksTheSchema(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	table := postgres.Table{Machine: order, Name: "orders"}
	for _, c := range []struct {
		sql  string
		have int64
		says string
	}{
		{`DELETE FROM pawl.goose_db_version WHERE version_id > 0`, 0, "pawl migrate up"},
		{`DROP SCHEMA pawl CASCADE`, 0, "pawl migrate up"},
	} {
		mustExec(t, pool, c.sql)
		_, err := postgres.Open(t.Context(), pool, table)
		schema, ok := errors.AsType[*migrations.SchemaError](err)
		if !ok || schema.Have != c.have || !errors.Is(err, migrations.ErrSchema) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("after %s: %v", c.sql, err)
		}
	}
}

// asRole returns a pool that connects as a role without privileges.
func asRole(t *testing.T, pool *pgxpool.Pool) (restricted *pgxpool.Pool, role string) {
	t.Helper()
	role = "pawl_" + pool.Config().ConnConfig.Database
	if len(role) > 60 {
		role = role[:60]
	}
	quoted := pgx.Identifier{role}.Sanitize()
	mustExec(t, pool, `CREATE ROLE `+quoted)
	config := pool.Config()
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SET ROLE `+quoted)
		return err
	}
	restricted, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		restricted.Close()
		if _, err := pool.Exec(context.Background(), `DROP OWNED BY `+quoted+`; DROP ROLE `+quoted); err != nil {
			t.Error(err)
		}
	})
	return restricted, quoted
}

func TestRights(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	restricted, role := asRole(t, pool)
	table := postgres.Table{Machine: order, Name: "orders"}

	mustExec(t, pool, `GRANT USAGE ON SCHEMA pawl TO `+role+`; GRANT SELECT ON pawl.goose_db_version TO `+role)
	_, err := postgres.Open(t.Context(), restricted, table)
	want := []string{
		"pawl.transitions", "pawl.transitions", "pawl.parked", "pawl.parked", "pawl.parked", "pawl.parked",
		"pawl.dead_letters", "pawl.dead_letters", "pawl.dead_letters", "pawl.dead_letters",
		"pawl.marks", "pawl.marks", "pawl.marks",
		"pawl.caught_up", "pawl.caught_up", "pawl.caught_up", "pawl.tables", "pawl.tables", "pawl.tables", "pawl.machines", "pawl.machines", "pawl.machines",
		"pawl.timers", "pawl.timers", "pawl.timers", "pawl.timers", "pawl.rearmed", "pawl.rearmed", "pawl.rearmed", "pawl.rearmed", "orders",
	}
	if diff := cmp.Diff(want, problemsOf(err)); diff != "" {
		t.Errorf("problems (-want, +got):\n%s\n%v", diff, err)
	}
	if err == nil || !strings.Contains(err.Error(), "lacks SELECT, INSERT, UPDATE; GRANT it") {
		t.Errorf("error does not say what to grant: %v", err)
	}

	// With exactly the privileges that the documentation lists, everything works.
	for _, grant := range grantLine.FindAllString(security(t), -1) {
		mustExec(t, pool, strings.ReplaceAll(grant, " worker;", " "+role+";"))
	}
	store := open(t, restricted, table)
	var l log
	result := apply(t, store, l.say("a", "captured"), l.say("a", "nosuch"), l.say("a", "placed"))
	wantVerdicts(t, result, "applied", "rejected unknown_event", "applied")
	result = apply(t, store, l.say("b", "captured"), l.say("a", "shipped"))
	wantVerdicts(t, result, "early no_entity", "applied")
	wantVerdicts(t, apply(t, store, l.say("b", "placed")), "applied")
	if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Errorf("Sweep: %v", err)
	}

	mustExec(t, pool, `CREATE SCHEMA hidden; CREATE TABLE hidden.t (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	_, err = postgres.Open(t.Context(), restricted, postgres.Table{Machine: order, Name: "hidden.t"})
	if diff := cmp.Diff([]string{"hidden.t"}, problemsOf(err)); diff != "" {
		t.Errorf("problems of a table in a hidden schema (-want, +got):\n%s\n%v", diff, err)
	}
	mustExec(t, pool, `REVOKE ALL ON SCHEMA pawl FROM `+role)
	_, err = postgres.Open(t.Context(), restricted, table)
	if versioning.CauseOf(err) != versioning.Fatal {
		t.Errorf("without USAGE on schema pawl: %v is %v, want fatal", err, versioning.CauseOf(err))
	}
}

func TestQuotedNames(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `
CREATE SCHEMA "Odd ""Schema";
SET search_path = "Odd ""Schema", public;
CREATE TYPE "Odd ""Schema"."the State" AS ENUM ('pending', 'paid', 'shipped', 'delivered', 'cancelled');
CREATE TABLE "Odd ""Schema"."Select" ("The Id" text PRIMARY KEY, "from" "Odd ""Schema"."the State" NOT NULL, "to""" bigint NOT NULL, "where" text);
RESET search_path`)
	store := open(t, pool, postgres.Table{
		Machine: order, Name: `Odd "Schema.Select`, State: "from", Version: `to"`,
	})
	var l log
	result := apply(t, store, l.set("a", "placed", versioning.Columns{"where": "x"}), l.say("a", "captured"))
	wantVerdicts(t, result, "applied", "applied")
	wantVerdicts(t, apply(t, store, l.set("a", "shipped", versioning.Columns{"where": "y"})), "applied")
	wantRows(t, pool, `SELECT t::text FROM "Odd ""Schema"."Select" AS t`, "(a,shipped,3,y)")
}

func TestSearchPath(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE SCHEMA shop;
CREATE TYPE shop.phase AS ENUM ('pending', 'paid', 'shipped', 'delivered', 'cancelled');
CREATE TABLE shop.orders (id text PRIMARY KEY, state shop.phase NOT NULL, version bigint NOT NULL)`)
	config := pool.Config()
	config.ConnConfig.RuntimeParams["search_path"] = "shop"
	there, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	store := open(t, there, postgres.Table{Machine: order, Name: "orders"})
	mustExec(t, there, `SET search_path = pg_catalog`) // of the only open connection
	var l log
	wantVerdicts(t, apply(t, store, l.say("a", "placed")), "applied")
	wantVerdicts(t, apply(t, store, l.say("a", "captured")), "applied")
	wantRows(t, pool, `SELECT t::text FROM shop.orders AS t`, "(a,paid,2)")
}

func TestKeyTypes(t *testing.T) { //nolint:tparallel // the cases share a database
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE DOMAIN short AS varchar(5); CREATE DOMAIN shorter AS short CHECK (value <> 'no')`)
	const id, same = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "{6ba7b8109dad11d180b400c04fd430c8}"
	for _, c := range []struct {
		typ       string
		key, same string   // two spellings of one key
		stored    string   // as the column stores it
		bad       []string // not keys
		refused   string   // a key that PostgreSQL refuses
	}{
		{"text", "Ä key", "Ä key", "Ä key", []string{"", "a\x00b", "a\xff", strings.Repeat("x", 1025)}, ""},
		{"varchar(5)", "äöüßx", "äöüßx", "äöüßx", []string{"äöüßxy"}, ""},
		{"shorter", "abcde", "abcde", "abcde", []string{"abcdef"}, "no"},
		{"uuid", id, same, strings.ToLower(id), []string{
			"x", id + "0", id[:35], strings.ReplaceAll(id, "-", "_"), "{" + id, "-" + id, id + "-", "6BA7B810--9DAD-11D1-80B4-00C04FD430C8",
		}, ""},
		{"bigint", "42", "+042", "42", []string{"x", "4.2", "9223372036854775808", "4_2", " 42", "0x2a"}, ""},
		{"integer", "-7", "-07", "-7", []string{"2147483648"}, ""},
		{"smallint", "7", "007", "7", []string{"32768"}, ""},
	} {
		t.Run(c.typ, func(t *testing.T) {
			mustExec(t, pool, `TRUNCATE pawl.transitions, pawl.dead_letters; CREATE TABLE t (id `+c.typ+
				` PRIMARY KEY, state text NOT NULL, version integer NOT NULL)`)
			defer mustExec(t, pool, `DROP TABLE t`)
			store := open(t, pool, postgres.Table{Machine: order, Name: "t"})
			var l log
			wantVerdicts(t, apply(t, store, l.say(c.key, "placed"), l.say(c.same, "captured")), "applied", "applied")
			wantVerdicts(t, apply(t, store, l.say(c.same, "shipped"), l.say(c.key, "delivered")), "applied", "applied")
			wantRows(t, pool, `SELECT id::text || ' ' || state || ' ' || version FROM t`, c.stored+" delivered 4")
			for _, bad := range c.bad {
				wantVerdicts(t, apply(t, store, l.say(bad, "placed")), "rejected invalid_key")
			}
			if c.refused != "" {
				wantVerdicts(t, apply(t, store, l.say(c.refused, "placed")), "rejected constraint")
			}
			wantRows(t, pool, `SELECT count(*)::text FROM t`, "1")
		})
	}
}

// TestUUIDSpellings compares which UUIDs Prepare and PostgreSQL accept.
func TestUUIDSpellings(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE t (id uuid PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	store := open(t, pool, postgres.Table{Machine: order, Name: "t"})
	const digits = "6ba7b8109dad11d180b400c04fd430c8"
	spellings := []string{"", digits, "{" + digits + "}", digits + "}", "{}", "{" + digits, strings.ToUpper(digits)}
	for i := range len(digits) {
		spellings = append(spellings, digits[:i]+"-"+digits[i:], digits[:i]+digits[i+1:])
	}
	for _, s := range spellings {
		var want *string
		if err := pool.QueryRow(t.Context(), `SELECT $1::text::uuid::text`, s).Scan(&want); err != nil {
			want = nil
		}
		r := (&log{}).say(s, "placed")
		store.Prepare(r)
		if got := r.Changes[0].Key; (r.Err == nil) != (want != nil) || want != nil && got != *want {
			t.Errorf("%q: key %q, error %v; PostgreSQL reads %v", s, got, r.Err, want)
		}
	}
}
