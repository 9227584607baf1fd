package postgres_test

import (
	"database/sql/driver"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// money is a driver.Valuer.
type money struct{ cents int64 }

func (m money) Value() (driver.Value, error) {
	switch m.cents {
	case -1:
		return nil, errors.New("no such money")
	case -2:
		panic("a bug")
	case -3:
		return nil, nil
	}
	return big.NewRat(m.cents, 100).FloatString(2), nil
}

type mood string

func TestColumnTypes(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE place AS (street text, no int);
CREATE DOMAIN even AS int CHECK (value % 2 = 0);
CREATE DOMAIN code AS char(3);
CREATE DOMAIN upper_code AS code CHECK (value = upper(value));
CREATE DOMAIN tags AS text[];
CREATE TABLE t (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
	i2 smallint, i4 int, i8 bigint, num numeric, num2 numeric(6,2), f8 float8, b bool, tx text, vc varchar(3), ch char(3), bi bit(5),
	ts timestamptz, tsn timestamp, d date, iv interval, u uuid, by bytea, j jsonb, js json, ta text[], ia int[], ca char(3)[],
	m mood, ma mood[], ev even, dc upper_code, dt tags, pl place, r int4range, inet inet,
	gen int GENERATED ALWAYS AS (i4 * 2) STORED, ident bigint GENERATED ALWAYS AS IDENTITY)`)
	store := open(t, pool, postgres.Table{Machine: order, Name: "t"})
	when := time.Date(2024, 2, 29, 23, 59, 58, 123456000, time.FixedZone("", 3600))
	seven, str := 7, "x"
	const constraint, column = "rejected constraint", "rejected invalid_column"
	for _, c := range []struct {
		column string
		value  any
		want   string // the column as text, or the record's verdict
	}{
		{"i2", 7, "7"},
		{"i2", 70_000, column},
		{"i2", "70000", constraint},
		{"i4", int64(-5), "-5"},
		{"i4", &seven, "7"},
		{"i4", (*int)(nil), "NULL"},
		{"i4", nil, "NULL"},
		{"i4", "12", "12"},
		{"i4", 3.0, "3"},
		{"i4", 1.5, constraint},
		{"i4", 1e300, constraint},
		{"i8", uint32(9), "9"},
		{"i8", "x", constraint},
		{"num", "12345678901234567890.123456789", "12345678901234567890.123456789"},
		{"num", 12.5, "12.5"},
		{"num", 3, "3"},
		{"num", new(big.Int).Exp(big.NewInt(10), big.NewInt(30), nil), "1" + strings.Repeat("0", 30)},
		{"num", money{1234}, "12.34"},
		{"num", money{-1}, column},
		{"num", money{-2}, column},
		{"num", money{-3}, "NULL"},
		{"num", (*money)(nil), "NULL"},
		{"num2", "12.345", "12.35"},
		{"num2", "99999.99", constraint},
		{"f8", 0.1, "0.1"},
		{"b", true, "true"},
		{"tx", "", ""},
		{"tx", &str, "x"},
		{"tx", "it's; DROP TABLE t; --", "it's; DROP TABLE t; --"},
		{"tx", `{"a\b`, `{"a\b`},
		{"tx", "NULL", "NULL"},
		{"tx", "a\x00b", column},
		{"tx", "a\xffb", column},
		{"vc", "abc", "abc"},
		{"vc", "äöü", "äöü"},
		{"vc", "abcd", constraint},
		{"ch", "abc", "abc"},
		{"ch", "abcd", constraint},
		{"bi", "10101", "10101"},
		{"bi", "1010", constraint},
		{"ts", when, "2024-02-29 22:59:58.123456+00"},
		{"ts", "2024-02-29T23:59:58+01:00", "2024-02-29 22:59:58+00"},
		{"ts", "infinity", "infinity"},
		{"tsn", when, "2024-02-29 23:59:58.123456"},
		{"d", when, "2024-02-29"},
		{"iv", 90 * time.Minute, "01:30:00"},
		{"u", [16]byte{15: 1}, "00000000-0000-0000-0000-000000000001"},
		{"u", "no uuid", constraint},
		{"by", []byte{0, 255}, `\x00ff`},
		{"by", []byte{}, `\x`},
		{"by", []byte(nil), "NULL"},
		{"j", map[string]any{"a": []int{1}}, `{"a": [1]}`},
		{"j", struct {
			A string `json:"a"`
		}{"ü"}, `{"a": "ü"}`},
		{"j", []byte(`{"x":1}`), `{"x": 1}`},
		{"j", `[1]`, `[1]`},
		{"j", `{`, constraint},
		{"j", map[string]string{"a": "\x00"}, constraint},
		{"j", []int{1, 2}, `[1, 2]`},
		{"js", map[string]int{"a": 1}, `{"a":1}`},
		{"ta", []string{"a", `b"c`, `d\e`, "f,g", "", "NULL"}, `{a,"b\"c","d\\e","f,g","","NULL"}`},
		{"ta", []string{}, "{}"},
		{"ta", []string(nil), "NULL"},
		{"ta", []*string{&str, nil}, "{x,NULL}"},
		{"ta", `{p,NULL}`, "{p,NULL}"},
		{"ta", []string{"a\x00"}, column},
		{"ia", []int{1, 2}, "{1,2}"},
		{"ia", [][]int{{1, 2}, {3, 4}}, "{{1,2},{3,4}}"},
		{"ia", pgtype.Array[pgtype.Int4]{
			Elements: []pgtype.Int4{{Int32: 1, Valid: true}, {}}, Dims: []pgtype.ArrayDimension{{Length: 2, LowerBound: 1}}, Valid: true,
		}, "{1,NULL}"},
		{"ca", []string{"abc"}, "{abc}"},
		{"m", "happy", "happy"},
		{"m", mood("sad"), "sad"},
		{"m", "angry", constraint},
		{"ma", []string{"sad", "happy"}, "{sad,happy}"},
		{"ma", []mood{"sad"}, "{sad}"},
		{"ev", 4, "4"},
		{"ev", 5, constraint},
		{"dc", "ABC", "ABC"},
		{"dc", "ABCD", constraint},
		{"dc", "abc", constraint},
		{"dt", []string{"a", "b"}, "{a,b}"},
		{"pl", pgtype.CompositeFields{"Main St", 5}, `("Main St",5)`},
		{"pl", struct {
			Street string
			No     int
		}{"Main St", 5}, `("Main St",5)`},
		{"pl", "(x,)", "(x,)"},
		{"r", pgtype.Range[int]{Lower: 1, Upper: 5, LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true}, "[1,5)"},
		{"r", "[1,2]", "[1,3)"},
		{"inet", "10.0.0.1", "10.0.0.1/32"},
		{"gen", 1, column},
		{"ident", 1, column},
		{"nosuch", 1, column},
		{"id", "b", column},
		{"state", "paid", column},
		{"version", 9, column},
		{"i4", make(chan int), column},
		{"i4", struct{}{}, column},
	} {
		mustExec(t, pool, `TRUNCATE t, pawl.transitions, pawl.dead_letters`)
		var l log
		// Into a new row and into an existing one, next to records that set nothing.
		result := apply(t, store, l.set("new", "placed", versioning.Columns{c.column: c.value}), l.say("old", "placed"))
		result = result2(result, apply(t, store, l.set("old", "captured", versioning.Columns{c.column: c.value}), l.say("other", "placed")))
		if strings.HasPrefix(c.want, "rejected") {
			if got := verdicts(result.Outcomes); got[0] != c.want || got[2] != c.want || got[1] != "applied" || got[3] != "applied" {
				t.Errorf("%s = %#v: verdicts %v, want %s for the record alone (%s)", c.column, c.value, got, c.want, result.Outcomes[0].Detail)
			}
			continue
		}
		if got := verdicts(result.Outcomes); got[0] != "applied" || got[2] != "applied" {
			t.Errorf("%s = %#v: verdicts %v: %s", c.column, c.value, got, result.Outcomes[0].Detail)
			continue
		}
		for _, row := range query(t, pool, `SELECT coalesce(`+c.column+`::text, 'NULL') FROM t WHERE id IN ('new', 'old')`) {
			if strings.TrimSpace(row) != c.want {
				t.Errorf("%s = %#v is stored as %s, want %s", c.column, c.value, row, c.want)
			}
		}
	}
}

func result2(a, b versioning.Result) versioning.Result {
	a.Outcomes = append(a.Outcomes, b.Outcomes...)
	return a
}

func TestDefaultsAreKept(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `
CREATE DOMAIN status AS text DEFAULT 'dd';
CREATE TABLE t (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
	a text DEFAULT 'da', b text NOT NULL DEFAULT 'db', c text, d status, n serial, o int GENERATED BY DEFAULT AS IDENTITY)`)
	store := open(t, pool, postgres.Table{Machine: order, Name: "t"})
	var l log
	result := apply(t, store,
		l.set("1", "placed", versioning.Columns{"a": "x", "c": "c1"}),
		l.set("2", "placed", versioning.Columns{"b": "y"}),
		l.say("3", "placed"),
		l.set("4", "placed", versioning.Columns{"a": nil, "c": nil, "d": "z"}),
		l.set("5", "placed", versioning.Columns{"n": 100, "o": 200}),
	)
	wantVerdicts(t, result, repeat("applied", 5)...)
	wantVerdicts(t, apply(t, store, l.set("6", "placed", versioning.Columns{"b": nil})), "rejected constraint")
	wantRows(t, pool, `SELECT concat_ws(' ', id, coalesce(a, '-'), b, coalesce(c, '-'), coalesce(d, '-')) FROM t ORDER BY id`,
		"1 x db c1 dd", "2 da y - dd", "3 da db - dd", "4 - db - z", "5 da db - dd")
	wantRows(t, pool, `SELECT concat_ws(' ', count(*), count(DISTINCT n), max(n), max(o)) FROM t`, "5 5 100 200")

	// An update keeps the columns that it does not set, whatever the other updates set.
	result = apply(t, store,
		l.set("1", "captured", versioning.Columns{"c": "c2"}), l.set("2", "captured", versioning.Columns{"a": "a2"}),
		l.say("3", "captured"), l.set("4", "captured", versioning.Columns{"d": nil}))
	wantVerdicts(t, result, repeat("applied", 4)...)
	wantRows(t, pool, `SELECT concat_ws(' ', id, coalesce(a, '-'), b, coalesce(c, '-'), coalesce(d, '-')) FROM t WHERE id < '5' ORDER BY id`,
		"1 x db c2 dd", "2 a2 y - dd", "3 da db - dd", "4 - db - -")
}

func TestStepsOfOneEntityShareARow(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store,
		l.set("a", "placed", versioning.Columns{"note": "1", "amount": 1}),
		l.set("a", "captured", versioning.Columns{"note": "2"}),
		l.set("a", "shipped", versioning.Columns{"code": "c"}),
		l.set("b", "placed", versioning.Columns{"note": "x"}))
	wantRows(t, pool, `SELECT t::text FROM orders AS t ORDER BY id`, "(a,shipped,3,2,1,c)", "(b,pending,1,x,,)")
	apply(t, store,
		l.set("b", "noted", versioning.Columns{"note": "y", "amount": 5}),
		l.set("b", "noted", versioning.Columns{"note": nil}))
	wantRows(t, pool, `SELECT t::text FROM orders AS t WHERE id = 'b'`, "(b,pending,3,,5,)")
}

func TestTextThatPostgreSQLCantHold(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	for _, bad := range []string{"nul\x00", "utf8\xff", strings.Repeat("x", 5000) + "\xc3"} {
		records := []*versioning.Record{
			l.say(bad, "placed"),
			l.say("a", statemachine.Event(bad)),
			l.record(versioning.Change{Machine: bad, Key: "a", Event: "placed"}),
			l.record(versioning.Change{Key: "a", Event: "placed", MessageID: bad}),
			l.say("a", "placed"),
			l.record(),
		}
		records[4].Headers = []versioning.Header{{Key: bad, Value: []byte(bad)}}
		records[4].Key, records[4].Value = []byte(bad), []byte(bad)
		records[4].Err = errors.New(bad)
		records[5].Err = &versioning.Refusal{Reason: versioning.ReasonUndecodable, Err: errors.New(bad)}
		wantVerdicts(t, apply(t, store, records...), "rejected invalid_key", "rejected unknown_event", "rejected unknown_machine",
			"rejected invalid_message", "rejected undecodable", "rejected undecodable")
		letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{Reason: versioning.ReasonUndecodable})
		if err != nil {
			t.Fatal(err)
		}
		last := letters[len(letters)-2].Record
		if h := last.Headers; len(h) != 1 || h[0].Key != bad || string(h[0].Value) != bad || string(last.Value) != bad {
			t.Errorf("a dead letter with %.10q is incomplete: %+.100v", bad, last)
		}
	}
	wantRows(t, pool, `SELECT id FROM orders`)
}

func TestStateTypes(t *testing.T) { //nolint:tparallel // the cases share a database
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TYPE phase AS ENUM ('pending', 'paid', 'shipped', 'delivered', 'cancelled', 'more');
CREATE DOMAIN dphase AS phase CHECK (value <> 'more')`)
	for _, c := range []struct{ state, version string }{
		{"text", "bigint"},
		{"varchar(9)", "integer"},
		{"phase", "bigint"},
		{"dphase", "integer"},
	} {
		t.Run(c.state, func(t *testing.T) {
			mustExec(t, pool, `TRUNCATE pawl.transitions, pawl.dead_letters; CREATE TABLE t (id bigint PRIMARY KEY, state `+c.state+` NOT NULL, version `+c.version+` NOT NULL)`)
			defer mustExec(t, pool, `DROP TABLE t`)
			store := open(t, pool, postgres.Table{Machine: order, Name: "t"})
			var l log
			wantVerdicts(t, apply(t, store, l.say("1", "placed"), l.say("2", "placed")), "applied", "applied")
			wantVerdicts(t, apply(t, store, l.say("1", "captured"), l.say("1", "shipped"), l.say("2", "cancelled")),
				"applied", "applied", "applied")
			wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM t WHERE id = 1`, "1 shipped 3")
			if c.version == "integer" {
				mustExec(t, pool, `INSERT INTO t VALUES (3, 'pending', 2147483647)`)
				wantVerdicts(t, apply(t, store, l.say("3", "captured"), l.say("4", "placed")), "rejected constraint", "applied")
			}
		})
	}
}
