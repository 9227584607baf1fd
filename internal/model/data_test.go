package model_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// TestData is TestFramework for machines whose transitions compute, while others write
// the same rows: between batches, and between a batch's reading and writing.
func TestData(t *testing.T) {
	fewer(t, 4)
	for _, draw := range drawings {
		t.Run(draw.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkData(t, draw, openMemoryData) })
		})
	}
}

// A dataStore is a store whose rows others write too.
type dataStore interface {
	store

	// write lets somebody else write rows.
	write(t *rapid.T, writes []model.Write)

	// applyWhile applies records, and makes the writes between reading and writing. It
	// returns false if it has made them after the batch, because nothing was written.
	applyWhile(t *rapid.T, records []*versioning.Record, writes []model.Write) (between bool)
}

// A dataWorld is a store, the model, and the topic.
type dataWorld struct {
	store      dataStore
	model      *model.Model
	machine    *statemachine.Machine
	partitions [][]model.Message
}

func checkData(t *rapid.T, draw drawing, open func(*rapid.T, versioning.Rules, *model.Model) dataStore) {
	d := model.Computing(draw.machines, draw.identity).Draw(t, "machine")
	machine, err := statemachine.Compile(d.Definition)
	if err != nil {
		t.Fatalf("the drawn machine does not compile: %v", err)
	}
	rules := versioning.Rules{Machine: machine, Identity: draw.identity, MaxParked: rapid.IntRange(1, 3).Draw(t, "max parked")}
	w := &dataWorld{machine: machine, model: model.New(d, draw.identity)}
	w.model.MaxParked = rules.MaxParked
	w.store = open(t, rules, w.model)
	for p := range int32(2) {
		w.partitions = append(w.partitions, model.Traffic(d, p, draw.versioned).Draw(t, "traffic"))
	}
	w.run(t)
	want := expected(w.model)
	for key, row := range want.Rows {
		row.Columns = w.model.Rows[key].String()
		want.Rows[key] = row
	}
	if diff := differenceOf(want, w.store.look(t)); diff != "" {
		t.Errorf("(-model +framework):\n%s\nprograms: %+v\nmachine: %s", diff, d.Programs, machine.Mermaid())
	}
}

// run consumes the partitions as world.run does, while others write the rows.
func (w *dataWorld) run(t *rapid.T) {
	next := make([]int, len(w.partitions))
	for {
		var open []int
		for p, messages := range w.partitions {
			if next[p] < len(messages) {
				open = append(open, p)
			}
		}
		if len(open) == 0 {
			return
		}
		p := rapid.SampledFrom(open).Draw(t, "partition")
		size := rapid.IntRange(1, len(w.partitions[p])-next[p]).Draw(t, "batch")
		w.apply(t, w.partitions[p][next[p]:next[p]+size], model.Writes(int32(p)).Draw(t, "writes in between"))
		next[p] += size
		if rapid.IntRange(0, 3).Draw(t, "crash") == 0 {
			next[p] = rapid.IntRange(0, next[p]).Draw(t, "begin again")
		}
		writes := model.Writes(int32(p)).Draw(t, "writes")
		w.store.write(t, writes)
		for _, write := range writes {
			w.model.Write(write)
		}
	}
}

// apply applies a batch to the store and to the model.
func (w *dataWorld) apply(t *rapid.T, messages []model.Message, writes []model.Write) {
	records := w.records(messages)
	between := w.store.applyWhile(t, records, writes)
	for i, m := range messages {
		for j, part := range m.Parts {
			if part.Data != nil && !reflect.DeepEqual(records[i].Changes[j].Data, *part.Data) {
				t.Errorf("the data of %+v became %+v", part, records[i].Changes[j].Data)
			}
		}
	}
	before := w.model
	w.model = deliver(before.Clone(), messages)
	first := func(key string) bool { return len(w.model.History[key]) > 0 }
	if between {
		first = func(key string) bool { return len(before.History[key]) > 0 }
		if w.mustFoldAgain(before, writes) {
			w.model = before.Clone()
			for _, write := range writes {
				w.model.Write(write)
			}
			w.model = deliver(w.model, messages)
			return
		}
	}
	for _, write := range writes {
		if first(write.Key) {
			w.model.Write(write)
		}
	}
}

// mustFoldAgain reports whether the batch, as it was read before the writes, can't be
// written after them: it moves a row that they have changed, or the database refuses a
// record. Otherwise its verdicts stand, as if it had come before the writes.
func (w *dataWorld) mustFoldAgain(before *model.Model, writes []model.Write) bool {
	for origin, fate := range w.model.Dead {
		if _, old := before.Dead[origin]; !old && fate.Reason == versioning.ReasonConstraint {
			return true
		}
	}
	return slices.ContainsFunc(writes, func(write model.Write) bool {
		had := len(before.History[write.Key])
		return had > 0 && len(w.model.History[write.Key]) > had
	})
}

func deliver(m *model.Model, messages []model.Message) *model.Model {
	for _, message := range messages {
		m.Deliver(message)
	}
	return m
}

// records converts messages to records. Their data is a copy.
func (w *dataWorld) records(messages []model.Message) (records []*versioning.Record) {
	for _, m := range messages {
		r := &versioning.Record{Origin: m.Origin, Timestamp: model.Time(m.Origin)}
		for _, part := range m.Parts {
			change := versioning.Change{Key: part.Key, Event: part.Event, MessageID: m.ID}
			if part.Expected >= 0 {
				change.Expected = versioning.At(part.Expected)
			}
			if part.Data != nil {
				change.Data = part.Data.Clone()
			}
			if part.Memo != "" {
				change.Set = versioning.Columns{"memo": part.Memo}
			}
			r.Changes = append(r.Changes, change)
		}
		w.store.Prepare(r)
		records = append(records, r)
	}
	return records
}

// dataMemory is the in-memory store.
type dataMemory struct {
	memory

	machine string
}

func openMemoryData(_ *rapid.T, rules versioning.Rules, _ *model.Model) dataStore {
	return dataMemory{memory{versioningtest.NewMemory(rules)}, rules.Machine.Name()}
}

func (m dataMemory) look(t *rapid.T) found {
	f := m.memory.look(t)
	for entity, r := range m.Rows() {
		f.Rows[entity.Key] = row{r.State, r.Version, columnsOf(r.Columns).String()}
	}
	return f
}

// columnsOf converts the columns of a row in memory.
func columnsOf(columns versioning.Columns) (c model.Columns) {
	c.Row = rowOf[model.Row](columns)
	c.Memo, _ = columns["memo"].(string)
	c.Seen, _ = columns["seen"].(int64)
	return c
}

// rowOf converts columns to a row type.
func rowOf[R any](columns versioning.Columns) (r R) {
	row := reflect.ValueOf(&r).Elem()
	for i := range row.NumField() {
		column, ok := columns[row.Type().Field(i).Tag.Get("db")]
		field, value := row.Field(i), reflect.ValueOf(column)
		switch {
		case !ok:
		case value.Type() != field.Type(): // a pointer
			field.Set(reflect.New(value.Type()))
			field.Elem().Set(value)
		default:
			field.Set(value)
		}
	}
	return r
}

func (m dataMemory) write(_ *rapid.T, writes []model.Write) {
	for _, w := range writes {
		entity := versioning.Entity{Machine: m.machine, Key: w.Key}
		r, ok := m.Row(entity)
		if !ok {
			continue
		}
		c := w.Apply(columnsOf(r.Columns))
		r.Columns = maps.Clone(r.Columns)
		if r.Columns == nil {
			r.Columns = versioning.Columns{}
		}
		switch w.Column {
		case "seen":
			r.Columns["seen"] = c.Seen
		case "memo":
			r.Columns["memo"] = c.Memo
		case "balance":
			r.Columns["balance"] = c.Balance
		case "notes":
			r.Columns["notes"] = c.Notes
		case "credit":
			if delete(r.Columns, "credit"); c.Credit != nil {
				r.Columns["credit"] = *c.Credit
			}
		}
		m.Put(entity, r)
	}
}

func (m dataMemory) applyWhile(t *rapid.T, records []*versioning.Record, writes []model.Write) bool {
	m.Between(func(context.Context, *versioning.Plan) error {
		m.write(t, writes)
		return nil
	})
	result, err := m.Apply(t.Context(), "", records)
	if err == nil && len(result.Outcomes) != len(records) {
		err = errors.New("not all records have a verdict")
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}
