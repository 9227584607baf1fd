package model_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// A deep row can be changed through pointers, slices and maps at several levels.
type deep struct {
	Notes   []string          `db:"notes"`
	Numbers []int64           `db:"numbers"`
	Credit  *int64            `db:"credit"`
	Price   pgtype.Numeric    `db:"price"`
	Doc     map[string][]node `db:"doc"`
	Tree    *node             `db:"tree"`
}

type node struct {
	Name string
	Kids []*node
	Tags map[string]int64
}

// A wish is the data of an event. Its action moves parts of it into the row.
type wish struct {
	How   string // what the action does in the end
	Notes []string
	Tree  *node
}

var deepMachine = statemachine.MustCompile(statemachine.Definition{
	Name: "deep", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "made", To: "open", When: spoils("no", false)},
		{Event: "made", To: "open", Do: statemachine.Do(fulfil)},
		{Event: "did", From: statemachine.In("open"), To: "ended", When: spoils("no", false), Do: statemachine.Do(fulfil)},
		{Event: "did", From: statemachine.In("open"), To: "open", When: spoils("yes", true), Do: statemachine.Do(fulfil)},
	},
	Terminal: statemachine.In("ended"),
})

// spoils returns a condition that changes all that it gets.
func spoils(label string, holds bool) statemachine.Condition {
	return statemachine.When(label, func(row deep, w wish) bool {
		spoil(reflect.ValueOf(&row).Elem())
		spoil(reflect.ValueOf(&w).Elem())
		return holds
	})
}

// fulfil changes all parts of a row. The row then shares memory with the wish.
func fulfil(_ *statemachine.Firing, row *deep, w wish) error {
	grow(row, w)
	if w.How == "" {
		return nil
	}
	spoil(reflect.ValueOf(row).Elem())
	spoil(reflect.ValueOf(&w).Elem())
	switch w.How {
	case "wait":
		return statemachine.NotYet(errors.New("never"))
	case "panic":
		panic("spoilt")
	}
	return errors.New("refused")
}

func grow(row *deep, w wish) {
	if row.Credit == nil {
		row.Credit, row.Price, row.Doc = new(int64), pgtype.Numeric{Int: big.NewInt(1), Valid: true}, map[string][]node{}
	}
	*row.Credit++
	row.Price.Int.Add(row.Price.Int, big.NewInt(1))
	row.Notes = append(row.Notes, w.Notes...)
	row.Numbers = slices.Grow(row.Numbers, 3) // spare capacity
	row.Numbers = append(row.Numbers, *row.Credit)
	if row.Tree == nil || w.Tree == nil {
		row.Tree = w.Tree
	} else {
		row.Tree.Name += w.Tree.Name
		row.Tree.Kids = append(row.Tree.Kids, w.Tree)
		w.Tree.Tags = row.Tree.Tags
		row.Doc[w.Tree.Name] = append(row.Doc[w.Tree.Name], *w.Tree)
	}
}

// spoil changes everything that can be reached from a value, and the spare capacity of
// slices.
func spoil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if n, ok := reflect.TypeAssert[*big.Int](v); ok && n != nil {
			n.SetInt64(-1)
		} else if !v.IsNil() {
			spoil(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			spoil(field)
		}
	case reflect.Slice:
		for i := range v.Cap() {
			spoil(v.Slice(0, v.Cap()).Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			spoil(value)
			v.SetMapIndex(key, value)
		}
		if !v.IsNil() {
			v.SetMapIndex(reflect.ValueOf("spoilt"), reflect.Zero(v.Type().Elem()))
		}
	case reflect.String:
		v.SetString("spoilt")
	case reflect.Int64, reflect.Int32, reflect.Int8:
		v.SetInt(-1)
	default:
	}
}

var (
	deepType = mustType[deep]()
	wishType = mustType[wish]()
)

func mustType[T any]() *versioning.DataType {
	d, err := versioning.DataTypeOf(reflect.TypeFor[T]())
	if err != nil {
		panic(err)
	}
	return d
}

func cloned[T any](t *rapid.T, d *versioning.DataType, value T) T {
	t.Helper()
	c, err := d.Clone(value)
	if err != nil {
		t.Fatal(err)
	}
	return c.(T)
}

func nodes(depth int) *rapid.Generator[*node] {
	return rapid.Custom(func(t *rapid.T) *node {
		if rapid.IntRange(0, 4).Draw(t, "nil") == 4 {
			return nil
		}
		n := &node{
			Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"),
			Tags: rapid.MapOfN(rapid.SampledFrom([]string{"x", "y"}), rapid.Int64Range(0, 3), 0, 2).Draw(t, "tags"),
		}
		if depth > 0 {
			n.Kids = rapid.SliceOfN(nodes(depth-1), 0, 2).Draw(t, "kids")
		}
		return n
	})
}

var wishes = rapid.Custom(func(t *rapid.T) wish {
	return wish{
		How:   rapid.SampledFrom([]string{"", "", "refuse", "wait", "panic"}).Draw(t, "how"),
		Notes: rapid.SliceOfN(rapid.SampledFrom([]string{"n", "m"}), 0, 2).Draw(t, "notes"),
		Tree:  nodes(2).Draw(t, "tree"),
	}
})

// A leakStore is a store for deep rows.
type leakStore interface {
	versioningtest.Store

	disturb(t *rapid.T) // somebody else writes all rows between the next batch's reading and writing
	rows(t *rapid.T) map[string]deep
}

// TestLeaks checks that nothing remains of what functions change, except what an action
// leaves in its row when its record is applied: whatever conditions and refused, parked or
// panicking records have done to what they could reach, and however often they ran.
func TestLeaks(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		fewer(t, 10)
		rapid.Check(t, func(t *rapid.T) { checkLeaks(t, openDeepMemory(t)) })
	})
	t.Run("postgres", func(t *testing.T) {
		fewer(t, 50)
		pool := testenv.Pool(t, dataSchema)
		hooked := newHookedPool(t, pool)
		rapid.Check(t, func(t *rapid.T) { checkLeaks(t, openDeepPostgres(t, hooked, pool)) })
	})
}

func checkLeaks(t *rapid.T, store leakStore) {
	want := map[string]deep{}
	for offset := int64(0); offset < 20; {
		var records []*versioning.Record
		for range rapid.IntRange(1, 5).Draw(t, "batch") {
			records = append(records, wishRecord(t, want, offset))
			offset++
		}
		for _, r := range records {
			store.Prepare(r)
		}
		if rapid.Bool().Draw(t, "disturb") {
			store.disturb(t)
		}
		if _, err := store.Apply(t.Context(), "", records); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			for i, c := range r.Changes {
				if now, err := wishType.Encode(c.Data); err != nil || string(now) != string(r.Encoded[i]) {
					t.Errorf("the data of record %d was %s, and now is %s, %v", r.Origin.Offset, r.Encoded[i], now, err)
				}
			}
		}
	}
	if diff := cmp.Diff(texts(t, want), texts(t, store.rows(t))); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// wishRecord draws a record, and adds what it does to the rows.
func wishRecord(t *rapid.T, rows map[string]deep, offset int64) *versioning.Record {
	r := &versioning.Record{Origin: versioning.Origin{Topic: "t", TopicID: [16]byte{1}, Offset: offset}}
	after := map[string]deep{}
	isGood := true
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
		row, ok := after[key]
		if !ok {
			row, ok = rows[key]
		}
		event := statemachine.Event("did")
		if !ok {
			event = "made"
		}
		w := wishes.Draw(t, "wish")
		r.Changes = append(r.Changes, versioning.Change{Key: key, Event: event, Data: cloned(t, wishType, w)})
		row = cloned(t, deepType, row)
		grow(&row, cloned(t, wishType, w))
		after[key] = cloned(t, deepType, row)
		isGood = isGood && w.How == ""
	}
	for key, row := range after {
		if isGood {
			rows[key] = row
		}
	}
	return r
}

// texts returns rows in a form that can be compared.
func texts(t *rapid.T, rows map[string]deep) map[string]string {
	all := map[string]string{}
	for key, row := range rows {
		price, err := row.Price.Value()
		if err != nil {
			t.Fatal(err)
		}
		row.Price = pgtype.Numeric{}
		text, err := deepType.Encode(row)
		if err != nil {
			t.Fatal(err)
		}
		all[key] = fmt.Sprintf("%v %s", price, text)
	}
	return all
}

type deepMemory struct{ *versioningtest.Memory }

func openDeepMemory(*rapid.T) leakStore {
	return deepMemory{versioningtest.NewMemory(versioning.Rules{Machine: deepMachine})}
}

func (m deepMemory) disturb(*rapid.T) {
	m.Between(func(context.Context, *versioning.Plan) error {
		for entity, row := range m.Rows() {
			m.Put(entity, row)
		}
		m.Between(nil)
		return nil
	})
}

func (m deepMemory) rows(*rapid.T) map[string]deep {
	all := map[string]deep{}
	for entity, r := range m.Rows() {
		all[entity.Key] = rowOf[deep](r.Columns)
	}
	return all
}

type deepPostgres struct {
	inPostgres

	hooked *hookedPool
}

func openDeepPostgres(t *rapid.T, hooked *hookedPool, pool *pgxpool.Pool) leakStore {
	if _, err := pool.Exec(t.Context(), `TRUNCATE pawl.transitions, pawl.parked, pawl.dead_letters, deep`); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), hooked.Pool, postgres.Table{Machine: deepMachine, Name: "deep"})
	if err != nil {
		t.Fatal(err)
	}
	return deepPostgres{inPostgres{s, pool, "deep"}, hooked}
}

func (p deepPostgres) disturb(t *rapid.T) {
	p.hooked.hook = func(ctx context.Context) {
		if _, err := p.pool.Exec(ctx, `UPDATE deep SET seen = seen + 1`); err != nil {
			t.Error(err)
		}
	}
}

func (p deepPostgres) rows(t *rapid.T) map[string]deep {
	all := map[string]deep{}
	var key string
	var d deep
	p.each(t, `SELECT id, notes, numbers, credit, price, doc, tree FROM deep`,
		[]any{&key, &d.Notes, &d.Numbers, &d.Credit, &d.Price, &d.Doc, &d.Tree}, func() {
			all[key] = d
			d = deep{}
		})
	return all
}
