package postgres_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestKeysWithSeveralSpellings checks that an entity has one spelling of its key. If
// the column would store a key differently, or treat it as equal to another one, then
// Open returns an error, or the record is rejected, or Prepare converts the key to its
// canonical form. Otherwise two spellings would be two entities in the history but one
// row.
func TestKeysWithSeveralSpellings(t *testing.T) { //nolint:tparallel // the cases share a database
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `
CREATE COLLATION ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN ignoring AS text COLLATE ignore_case;
CREATE DOMAIN padded AS char(5);
CREATE DOMAIN cut AS varchar(5);
CREATE DOMAIN cut_more AS cut CHECK (VALUE <> 'no');
CREATE DOMAIN a_uuid AS uuid;
CREATE DOMAIN no AS bigint;
CREATE TYPE color AS ENUM ('red')`)
	const upper = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"
	lower := strings.ToLower(upper)
	for _, c := range []struct {
		name, ddl string
		key       string   // the column, if it is not the primary key
		refused   bool     // Open returns an error
		spellings []string // of one key
		others    []string // other keys, each a separate entity
		bad       []string // keys that are rejected
	}{
		{name: "char", ddl: `id char(5) PRIMARY KEY`, refused: true},
		{name: "char in a domain", ddl: `id padded PRIMARY KEY`, refused: true},
		{name: "name", ddl: `id name PRIMARY KEY`, refused: true},
		{name: "numeric", ddl: `id numeric PRIMARY KEY`, refused: true},
		{name: "double", ddl: `id float8 PRIMARY KEY`, refused: true},
		{name: "timestamptz", ddl: `id timestamptz PRIMARY KEY`, refused: true},
		{name: "date", ddl: `id date PRIMARY KEY`, refused: true},
		{name: "enum", ddl: `id color PRIMARY KEY`, refused: true},
		{name: "bytea", ddl: `id bytea PRIMARY KEY`, refused: true},
		{name: "inet", ddl: `id inet PRIMARY KEY`, refused: true},
		{name: "jsonb", ddl: `id jsonb PRIMARY KEY`, refused: true},
		{name: "collation", ddl: `id text COLLATE ignore_case PRIMARY KEY`, refused: true},
		{name: "collation of a domain", ddl: `id ignoring PRIMARY KEY`, refused: true},
		{name: "collation of the index", ddl: `id text); CREATE UNIQUE INDEX ON t (id COLLATE ignore_case`, key: "id", refused: true},
		{name: "collation of another index", ddl: `id text PRIMARY KEY); CREATE UNIQUE INDEX ON t (id COLLATE ignore_case`, refused: true},
		{
			name: "text", ddl: `id text PRIMARY KEY`, spellings: []string{"Key"},
			others: []string{"key", "Key ", " Key", "Ke\u0301y", "K\u00e9y", "KEY"},
		},
		{
			name: "varchar", ddl: `id varchar(5) PRIMARY KEY`, spellings: []string{"abcd"},
			others: []string{"abcd ", "ABCD"}, bad: []string{"abcd  ", "abcde ", "abcdef"},
		},
		{
			name: "varchar in a domain", ddl: `id cut_more PRIMARY KEY`, spellings: []string{"abcd"},
			others: []string{"abcd ", "ABCD"}, bad: []string{"abcd  ", "abcde ", "abcdef", "no"},
		},
		{
			name: "bigint", ddl: `id bigint PRIMARY KEY`, spellings: []string{"1", "+1", "01", "+001"},
			others: []string{"-1", "10", "0"}, bad: []string{"1.0", " 1", "1 ", "1e0", "0x1", "1_0", "9223372036854775808", "--1", "٣"},
		},
		{name: "zero", ddl: `id no PRIMARY KEY`, spellings: []string{"0", "-0", "+0", "00"}, others: []string{"1"}},
		{
			name: "uuid", ddl: `id a_uuid PRIMARY KEY`,
			spellings: []string{upper, lower, "{" + lower + "}", strings.ReplaceAll(upper, "-", ""), "{" + strings.ReplaceAll(lower, "-", "") + "}"},
			others:    []string{strings.Replace(lower, "a", "b", 1)}, bad: []string{lower + " ", "urn:uuid:" + lower, lower[1:]},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			mustExec(t, pool, `DROP TABLE IF EXISTS t; TRUNCATE pawl.transitions, pawl.parked, pawl.dead_letters, pawl.tables`)
			mustExec(t, pool, `CREATE TABLE t (state text NOT NULL, version bigint NOT NULL, `+c.ddl+`)`)
			table := postgres.Table{Machine: order, Name: "t", Key: c.key}
			_, err := postgres.Open(t.Context(), pool, table)
			if want := map[bool][]string{true: {"t.id"}}[c.refused]; !cmp.Equal(want, problemsOf(err)) {
				t.Fatalf("Open: problems with %v, want %v: %v", problemsOf(err), want, err)
			}
			if c.refused {
				return
			}
			store := open(t, pool, table)
			var l log
			for i, spelling := range c.spellings { // parked records, duplicates and steps find each other
				r := l.record(versioning.Change{Key: spelling, Event: "noted", MessageID: "m" + string(rune('0'+i))})
				if i == 0 {
					wantVerdicts(t, apply(t, store, r), "early no_entity")
					wantVerdicts(t, apply(t, store, l.say(c.spellings[len(c.spellings)-1], "placed")), "applied")
					continue
				}
				wantVerdicts(t, apply(t, store, r), "applied")
			}
			for _, spelling := range c.spellings {
				wantVerdicts(t, apply(t, store, l.record(versioning.Change{Key: spelling, Event: "noted", MessageID: "m0"})), "duplicate")
			}
			for _, other := range c.others {
				wantVerdicts(t, apply(t, store, l.say(other, "placed")), "applied")
			}
			for _, bad := range c.bad {
				if got := verdicts(apply(t, store, l.say(bad, "placed")).Outcomes)[0]; !strings.HasPrefix(got, "rejected") {
					t.Errorf("key %q: %s, want it rejected", bad, got)
				}
			}
			wantRows(t, pool, `SELECT id::text COLLATE "C" FROM t EXCEPT SELECT entity FROM pawl.transitions`)
			wantRows(t, pool, `SELECT entity FROM pawl.transitions EXCEPT SELECT id::text COLLATE "C" FROM t`)
			if n := len(query(t, pool, `SELECT id::text FROM t`)); n != 1+len(c.others) {
				t.Errorf("%d rows, want %d", n, 1+len(c.others))
			}
			wantRows(t, pool, `SELECT max(version)::text FROM t`, string(rune('1'+len(c.spellings))))
		})
	}
}

// TestKeyOfCitext is separate because the type belongs to an extension, which may be
// missing.
func TestKeyOfCitext(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	if _, err := pool.Exec(t.Context(), `CREATE EXTENSION citext`); err != nil {
		t.Skipf("no citext on this server: %v", err)
	}
	mustExec(t, pool, `CREATE DOMAIN email AS citext; CREATE TABLE t (id email PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: "t"})
	if got := problemsOf(err); !cmp.Equal(got, []string{"t.id"}) {
		t.Errorf("problems with %v, want t.id: %v", got, err)
	}
}
