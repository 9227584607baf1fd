package statemachine_test

import (
	"errors"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
)

type bag struct {
	Weight int64 `db:"weight"`
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	d := parcel()
	d.Transitions[0].Do = statemachine.Do(func(*statemachine.Firing, *bag, struct{}) error { return nil })
	d.Migrations = []statemachine.Migration{
		{From: statemachine.In("old"), To: "moving", When: statemachine.When("light", func(row bag, _ struct{}) bool { return row.Weight < 10 })},
		{From: statemachine.In("old", "older"), To: "waiting", Do: statemachine.Do(func(_ *statemachine.Firing, row *bag, _ struct{}) error {
			row.Weight++
			return nil
		})},
		{From: statemachine.In("oldest"), To: "ready"},
	}
	m := statemachine.MustCompile(d)
	if got := m.Retired(); len(got) != 3 || got[0] != "old" || m.Has("old") || m.HasEvent(statemachine.Migrated) {
		t.Errorf("retired %q, Has %v, HasEvent %v", got, m.Has("old"), m.HasEvent(statemachine.Migrated))
	}
	if to, ok := m.Fire("oldest", statemachine.Migrated); to != "ready" || !ok {
		t.Errorf("from oldest: %q, %v", to, ok)
	}
	branches := m.Branches("old", statemachine.Migrated)
	if len(branches) != 2 || !branches[0].Holds(&bag{9}, nil) || branches[0].Holds(&bag{10}, nil) {
		t.Fatalf("branches %+v", branches)
	}
	heavy := &bag{10}
	if err := branches[1].Act(&statemachine.Firing{}, heavy, nil); err != nil || heavy.Weight != 11 || branches[1].To != "waiting" {
		t.Errorf("to %q, %+v: %v", branches[1].To, heavy, err)
	}
	classes := map[statemachine.Event]statemachine.Class{
		statemachine.Migrated: statemachine.Now, "packed": statemachine.Later, "arrived": statemachine.Later, "other": statemachine.Unknown,
	}
	for e, want := range classes {
		if got := m.Classify("older", e); got != want {
			t.Errorf("%s: %v; want %v", e, got, want)
		}
	}
	if got := m.Classify("ready", statemachine.Migrated); got != statemachine.Unknown {
		t.Errorf("in a state that is not retired: %v", got)
	}
}

func TestBadMigrations(t *testing.T) {
	t.Parallel()
	row := statemachine.Do(func(*statemachine.Firing, *bag, struct{}) error { return nil })
	tests := []struct {
		name string
		bad  []statemachine.Migration
		want error
	}{
		{"no source", []statemachine.Migration{{To: "ready"}}, statemachine.ErrMigration},
		{"None", []statemachine.Migration{{From: statemachine.In(statemachine.None), To: "ready"}}, statemachine.ErrMigration},
		{"a living state", []statemachine.Migration{{From: statemachine.In("moving"), To: "ready"}}, statemachine.ErrMigration},
		{"an unknown target", []statemachine.Migration{{From: statemachine.In("old"), To: "other"}}, statemachine.ErrMigration},
		{"a retired target", []statemachine.Migration{{From: statemachine.In("old"), To: "ready"}, {From: statemachine.In("older"), To: "old"}}, statemachine.ErrMigration},
		{"two targets", []statemachine.Migration{{From: statemachine.In("old"), To: "ready"}, {From: statemachine.In("old"), To: "moving"}}, statemachine.ErrMigration},
		{"a label without function", []statemachine.Migration{{From: statemachine.In("old"), To: "ready", When: statemachine.When[bag, struct{}]("x", nil)}}, statemachine.ErrMigration},
		{"two row types", []statemachine.Migration{
			{From: statemachine.In("old"), To: "ready", Do: row},
			{From: statemachine.In("older"), To: "ready", Do: statemachine.Do(func(*statemachine.Firing, *struct{ N int }, struct{}) error { return nil })},
		}, statemachine.ErrMigration},
		{"data", []statemachine.Migration{{From: statemachine.In("old"), To: "ready", Do: statemachine.Do(func(*statemachine.Firing, *bag, int) error { return nil })}}, statemachine.ErrMigration},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := parcel()
			d.Migrations = tt.bad
			if _, err := statemachine.Compile(d); !errors.Is(err, tt.want) {
				t.Errorf("Compile: %v", err)
			}
		})
	}
	d := parcel()
	d.Transitions[0].Event = "pawl.started"
	if _, err := statemachine.Compile(d); !errors.Is(err, statemachine.ErrReserved) {
		t.Errorf("Compile: %v", err)
	}
}
