package versioning

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
)

// TestFoldOfNumberedViews checks that Fold treats views as the store reads them, with
// numbered entities that share memory, like any other view: twice with the same result,
// and with each step in the move of its own entity.
func TestFoldOfNumberedViews(t *testing.T) {
	t.Parallel()
	rules := map[string]Rules{"a": {Machine: loop("a"), MaxParked: 4}, "b": {Machine: loop("b"), MaxParked: 4}}
	rapid.Check(t, func(t *rapid.T) {
		numbered, plain := drawViews(t)
		records := drawRecords(t)
		one := Fold(rules, numbered, records)
		before := fmt.Sprintf("%+v", one)
		two := Fold(rules, numbered, records)
		if fmt.Sprintf("%+v", one) != before || !reflect.DeepEqual(one, two) {
			t.Fatal("the same view folds differently")
		}
		other := Fold(rules, plain, records)
		for i := range min(len(one.Moves), len(other.Moves)) {
			if k := numbered.Entities[one.Moves[i].Entity]; k != nil && k != one.Moves[i].Known() {
				t.Fatalf("move %d has another entity's view", i)
			}
			one.Moves[i].known, other.Moves[i].known = nil, nil // the views differ in numbers
		}
		if !reflect.DeepEqual(one, other) {
			t.Fatal("a view whose entities have no numbers folds differently")
		}
		for _, m := range one.Moves {
			for i, step := range m.Steps {
				if c := step.Record.Changes[step.Change]; (Entity{c.Machine, c.Key}) != m.Entity || step.Version != m.From.Version+int64(i)+1 {
					t.Fatalf("step %d of %s is %+v", i, m.Entity, step)
				}
			}
		}
	})
}

func loop(name string) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: name, Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending"},
			{Event: "noted", From: statemachine.In("pending"), To: "pending"},
			{Event: "captured", From: statemachine.In("pending"), To: "paid"},
			{Event: "reopened", From: statemachine.In("paid"), To: "pending"},
			{Event: "cancelled", From: statemachine.In("paid"), To: "cancelled"},
		},
		Terminal: statemachine.In("cancelled"),
	})
}

func drawID(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 80).Draw(t, "message")) }

// drawViews draws a view as the store reads it, and an unnumbered view with the same
// content.
func drawViews(t *rapid.T) (numbered, plain *View) {
	numbered = &View{Entities: make(map[Entity]*Known)}
	plain = &View{Entities: make(map[Entity]*Known)}
	var ids []Message // of all entities, as in scanRows
	for _, machine := range []string{"a", "b"} {
		for key := range rapid.IntRange(0, 4).Draw(t, "entities") {
			name := Entity{machine, fmt.Sprint(key)}
			k, p := &Known{n: len(numbered.Entities) + 1, changes: rapid.IntRange(0, 8).Draw(t, "room")}, &Known{}
			if k.Exists = rapid.Bool().Draw(t, "exists"); k.Exists {
				k.Row = Row{State: "pending", Version: int64(rapid.IntRange(1, 10).Draw(t, "version"))}
				first := len(ids)
				for range rapid.IntRange(0, 17).Draw(t, "messages") {
					ids = append(ids, Message{drawID(t), 1})
					k.Messages = MessagesOf(ids[first:len(ids):len(ids)])
					p.Messages.Add(ids[len(ids)-1].ID, ids[len(ids)-1].Digest)
				}
				for range rapid.IntRange(0, 3).Draw(t, "later messages") {
					id := drawID(t)
					k.Messages.Add(id, 2)
					p.Messages.Add(id, 2)
				}
			}
			p.Exists, p.Row = k.Exists, k.Row
			numbered.Entities[name], plain.Entities[name] = k, p
		}
	}
	return numbered, plain
}

// drawRecords draws records for entities inside and outside the views, some of them
// twice.
func drawRecords(t *rapid.T) (records []*Record) {
	for i := range rapid.IntRange(0, 40).Draw(t, "records") {
		if i > 0 && rapid.IntRange(0, 5).Draw(t, "twice") == 0 {
			records = append(records, records[rapid.IntRange(0, i-1).Draw(t, "which")])
			continue
		}
		r := &Record{Origin: Origin{Topic: "t", Offset: int64(i)}}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			c := Change{
				Machine:   rapid.SampledFrom([]string{"a", "b", "unknown"}).Draw(t, "machine"),
				Key:       fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "key")),
				Event:     rapid.SampledFrom([]statemachine.Event{"placed", "noted", "noted", "captured", "reopened", "cancelled"}).Draw(t, "event"),
				MessageID: drawID(t),
			}
			if rapid.IntRange(0, 3).Draw(t, "versioned") == 0 {
				c.Expected = At(int64(rapid.IntRange(0, 12).Draw(t, "expected")))
			}
			r.Changes = append(r.Changes, c)
		}
		records = append(records, r)
	}
	return records
}
