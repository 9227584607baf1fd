package postgres_test

import (
	"database/sql/driver"
	"fmt"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A bound is unlimited if its column is NULL.
type bound struct { //nolint:recvcheck // Scan must change it, Value must work for values
	unlimited bool
	n         int64
}

func (b *bound) Scan(v any) error {
	n, ok := v.(int64)
	*b = bound{unlimited: !ok, n: n}
	return nil
}

func (b bound) Value() (driver.Value, error) {
	if b.unlimited {
		return nil, nil
	}
	return b.n, nil
}

// A row that a transition without an action has created has its columns' defaults, or NULL, which
// are not always what Go has as zero.
func TestColumnsThatNobodySets(t *testing.T) {
	t.Parallel()
	type row struct {
		Level string `db:"level"`
		Most  bound  `db:"most"`
		Used  int64  `db:"used"`
	}
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "open"},
			{Event: "did", From: statemachine.In("open"), To: "open", Do: statemachine.Do(func(_ *statemachine.Firing, row *row, n int64) error {
				if !row.Most.unlimited && row.Used+n > row.Most.n {
					return fmt.Errorf("more than %d", row.Most.n)
				}
				row.Used += n
				return nil
			})},
			{Event: "ended", From: statemachine.In("open"), To: "ended"},
		},
		Terminal: statemachine.In("ended"),
	})
	for name, c := range map[string]struct{ level, most, want string }{
		"a text that is 0 for numbers": {`text NOT NULL DEFAULT '0'`, `bigint`, "(a,open,3,0,,7)"},
		"an empty text":                {`text NOT NULL DEFAULT ''`, `bigint`, `(a,open,3,"",,7)`},
		"NULL":                         {`varchar(9) NOT NULL DEFAULT 'x'`, `integer`, "(a,open,3,x,,7)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, store := openThings(t, `, level `+c.level+`, most `+c.most+`, used bigint NOT NULL DEFAULT 0`, postgres.Table{Machine: m})
			var l log
			wantVerdicts(t, apply(t, store, l.did("a", "made", 0), l.did("a", "did", 3), l.did("a", "did", 4)), repeat("applied", 3)...)
			wantRows(t, pool, `SELECT t::text FROM thing AS t`, c.want)
		})
	}
}

// A write of one row may cascade to another one of the same batch, with which functions compute.
// Records of different entities have no order, so it is right that a function sees the row as it
// was before the batch. What it writes must not undo the cascade.
func TestCascadeBesideFunctions(t *testing.T) {
	t.Parallel()
	type row struct {
		ShopCode *string `db:"shop_code"`
		Seen     string  `db:"seen"`
	}
	things := machineOf(func(f *statemachine.Firing, row *row, _ int64) error {
		if f.Event == "made" {
			code := "one"
			row.ShopCode = &code
			return nil
		}
		row.Seen += *row.ShopCode + " "
		return nil
	})
	shops := statemachine.MustCompile(statemachine.Definition{
		Name: "shop", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "renamed", From: statemachine.In("open"), To: "open"},
			{Event: "closed", From: statemachine.In("open"), To: "closed"},
		},
		Terminal: statemachine.In("closed"),
	})
	for _, first := range []string{"thing", "shop"} {
		t.Run(first+" is written first", func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, migrated)
			mustExec(t, pool, `CREATE TABLE shop (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, code text UNIQUE);
CREATE TABLE thing (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
	shop_code text REFERENCES shop (code) ON UPDATE CASCADE, seen text NOT NULL DEFAULT '')`)
			tables := []postgres.Table{{Machine: things, Name: "thing"}, {Machine: shops, Name: "shop"}}
			if first == "shop" {
				tables[0], tables[1] = tables[1], tables[0]
			}
			store := open(t, pool, tables...)
			var l log
			shop := func(event statemachine.Event, code string) *versioning.Record {
				return l.record(versioning.Change{Machine: "shop", Key: "s", Event: event, Set: versioning.Columns{"code": code}})
			}
			wantVerdicts(t, apply(t, store, shop("opened", "one")), "applied")
			wantVerdicts(t, apply(t, store, l.did("a", "made", 0)), "applied")
			wantVerdicts(t, apply(t, store, l.did("a", "did", 0), shop("renamed", "two"), l.did("a", "did", 0)), repeat("applied", 3)...)
			wantVerdicts(t, apply(t, store, shop("renamed", "three"), l.did("a", "did", 0)), repeat("applied", 2)...)
			seen := map[string]string{"thing": "two", "shop": "three"}[first]
			wantRows(t, pool, `SELECT t::text FROM thing AS t`, `(a,open,4,three,"one two `+seen+` ")`)
		})
	}
}
