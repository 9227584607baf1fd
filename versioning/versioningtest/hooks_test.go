package versioningtest_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

var machine = statemachine.MustCompile(statemachine.Definition{
	Name: "thing", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "made", To: "open"},
		{Event: "used", From: statemachine.In("open"), To: "open"},
		{Event: "ended", From: statemachine.In("open"), To: "ended"},
	},
	Terminal: statemachine.In("ended"),
})

var thing = versioning.Entity{Machine: "thing", Key: "a"}

func record(offset int64, event statemachine.Event) *versioning.Record {
	return &versioning.Record{Origin: versioning.Origin{Offset: offset}, Changes: []versioning.Change{{Key: "a", Event: event}}}
}

func TestHooks(t *testing.T) {
	t.Parallel()
	m := versioningtest.NewMemory(versioning.Rules{Machine: machine})
	trouble := errors.New("no connection")
	made := []*versioning.Record{record(0, "made")}
	m.Prepare(made[0])

	m.Before(func(_ context.Context, records []*versioning.Record) error {
		if len(records) != 1 || records[0] != made[0] {
			t.Errorf("before: %v", records)
		}
		return trouble
	})
	if _, err := m.Apply(t.Context(), "", made); !errors.Is(err, trouble) {
		t.Errorf("Apply = %v, want %v", err, trouble)
	}
	if _, ok := m.Row(thing); ok {
		t.Error("a failed batch was written")
	}

	m.Before(nil)
	m.After(func(_ context.Context, result versioning.Result) error {
		if result.Outcomes[0].Verdict != versioning.Applied {
			t.Errorf("after: %v", result)
		}
		return trouble
	})
	if result, err := m.Apply(t.Context(), "", made); !errors.Is(err, trouble) || len(result.Outcomes) > 0 {
		t.Errorf("Apply = %v, %v; want %v", result, err, trouble)
	}
	m.After(nil)
	if result, err := m.Apply(t.Context(), "", made); err != nil || result.Outcomes[0].Verdict != versioning.Duplicate {
		t.Errorf("Apply = %v, %v; want a duplicate", result, err)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Apply(ended, "", made); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply with a canceled context: %v", err)
	}
}

// TestBetween writes between the reading and the writing of a batch. If a row of the
// batch has moved, the batch is decided again; records that were parked meanwhile are
// found by a sweep.
func TestBetween(t *testing.T) {
	t.Parallel()
	m := versioningtest.NewMemory(versioning.Rules{Machine: machine})
	apply := func(r *versioning.Record) versioning.Verdict {
		m.Prepare(r)
		result, err := m.Apply(t.Context(), "", []*versioning.Record{r})
		if err != nil {
			t.Fatal(err)
		}
		return result.Outcomes[0].Verdict
	}
	meanwhile := func(r *versioning.Record) {
		m.Between(func(context.Context, *versioning.Plan) error {
			m.Between(nil)
			if got := apply(r); got != versioning.Applied {
				t.Errorf("in between: %v", got)
			}
			return nil
		})
	}

	meanwhile(record(0, "made"))
	if got := apply(record(1, "used")); got != versioning.Early || len(m.Parked()) != 1 {
		t.Errorf("record that read before the row existed: %v, %v", got, m.Parked())
	}
	if swept, err := m.Sweep(t.Context(), versioning.Reading{}); err != nil || len(swept.Released) != 1 || len(m.Parked()) != 0 {
		t.Errorf("Sweep = %v, %v", swept, err)
	}
	meanwhile(record(2, "used"))
	if got := apply(record(2, "used")); got != versioning.Duplicate {
		t.Errorf("one record twice at the same time: %v, want a duplicate", got)
	}
	meanwhile(record(3, "ended"))
	if got := apply(record(4, "used")); got != versioning.Rejected {
		t.Errorf("record after the terminal state: %v, want rejected", got)
	}
	if row, _ := m.Row(thing); row.Version != 4 || len(m.History(thing)) != 4 {
		t.Errorf("%+v, %v", row, m.History(thing))
	}
	trouble := errors.New("no connection")
	m.Between(func(context.Context, *versioning.Plan) error { return trouble })
	lost := record(5, "used")
	m.Prepare(lost)
	if _, err := m.Apply(t.Context(), "", []*versioning.Record{lost}); !errors.Is(err, trouble) || len(m.DeadLetters()) != 1 {
		t.Errorf("Apply = %v, want %v and nothing written", err, trouble)
	}
}

// TestUpdate updates a row that does not exist, and then one that does: another writer's
// column and the step that was decided before it are both there.
func TestUpdate(t *testing.T) {
	t.Parallel()
	m := versioningtest.NewMemory(versioning.Rules{Machine: machine})
	see := func(row *versioningtest.Row) {
		n, _ := row.Columns["seen"].(int)
		row.Columns["seen"] = n + 1
	}
	if m.Update(thing, see) {
		t.Error("Update of a missing row reports success")
	}
	m.Between(func(_ context.Context, plan *versioning.Plan) error {
		if !m.Update(thing, see) && !plan.Moves[0].Create {
			t.Error("Update of a row reports that there is none")
		}
		return nil
	})
	for i, event := range []statemachine.Event{"made", "used", "used"} {
		r := record(int64(i), event)
		m.Prepare(r)
		if _, err := m.Apply(t.Context(), "", []*versioning.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if row, _ := m.Row(thing); row.Version != 3 || row.Columns["seen"] != 2 {
		t.Errorf("%+v; want version 3, seen twice", row)
	}
}

// TestDecidedInBetween settles the same record between the reading and the writing of
// its batch, without a row that conflicts. The record must end up with one verdict.
func TestDecidedInBetween(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		parked bool // another record is parked before
		theirs []statemachine.Event
		want   versioning.Verdict
		dead   int
	}{
		{"dead, to be parked", false, []statemachine.Event{"made", "ended"}, versioning.Rejected, 1},
		{"applied, to be a dead letter", true, []statemachine.Event{"made"}, versioning.Duplicate, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := versioningtest.NewMemory(versioning.Rules{Machine: machine, MaxParked: 1})
			apply := func(r *versioning.Record) versioning.Verdict {
				m.Prepare(r)
				result, err := m.Apply(t.Context(), "", []*versioning.Record{r})
				if err != nil {
					t.Fatal(err)
				}
				return result.Outcomes[0].Verdict
			}
			if c.parked {
				apply(record(0, "used"))
			}
			m.Between(func(context.Context, *versioning.Plan) error {
				m.Between(nil)
				for i, event := range c.theirs {
					apply(record(int64(2+i), event))
				}
				apply(record(1, "used"))
				return nil
			})
			if got := apply(record(1, "used")); got != c.want || len(m.Parked()) != 0 || len(m.DeadLetters()) != c.dead {
				t.Errorf("%v, parked %v, dead %v; want %v and %d dead letters", got, m.Parked(), m.DeadLetters(), c.want, c.dead)
			}
		})
	}
}

// TestConcurrentUse is for the race detector. It also counts the results.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := versioningtest.NewMemory(versioning.Rules{Machine: machine})
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := range 50 {
				r := record(int64(worker*1000+i), "used")
				m.Prepare(r)
				if _, err := m.Apply(t.Context(), "", []*versioning.Record{r}); err != nil {
					t.Error(err)
				}
				m.Rows()
				m.Parked()
				m.DeadLetters()
				m.History(thing)
				m.Before(nil)
			}
		})
	}
	wait.Wait()
	if got := len(m.Parked()); got != 200 {
		t.Errorf("%d parked, want 200", got)
	}
	r := record(9999, "made")
	m.Prepare(r)
	result, err := m.Apply(t.Context(), "", []*versioning.Record{r})
	if err != nil || len(result.Released) != 200 {
		t.Errorf("%d released, want 200 (%v)", len(result.Released), err)
	}
	if row, _ := m.Row(thing); row.Version != 201 {
		t.Errorf("version %d, want 201", row.Version)
	}
}

func TestNewMemoryRefuses(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string][]versioning.Rules{
		"two machines of one name":           {{Machine: machine}, {Machine: machine}},
		"by state, which proves no identity": {{Machine: machine, Identity: versioning.ByState}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			versioningtest.NewMemory(rules...)
		}()
	}
}
