package postgres

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// TestFullDisk checks that a rehearsal which can't keep what it has changed fails for good: it must
// not go on with what is left in memory.
func TestFullDisk(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "there is no such directory"))
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "m", Version: 1, Transitions: []statemachine.Transition{{Event: "made", To: "made"}}, Terminal: statemachine.In("made"),
	})
	h := &Rehearsal{store: &Store{}, imagined: newImagined()}
	h.imagined.most = 1
	e := &snapshot{rules: map[string]versioning.Rules{"m": {Machine: machine}}}
	rows := func(string) *rowType { return nil }
	var failed error
	for _, key := range []string{"a", "b", "c"} {
		r := &versioning.Record{Changes: []versioning.Change{{Machine: "m", Key: key, Event: "made"}}}
		plan := versioning.Fold(e.rules, versioning.NewView(1), []*versioning.Record{r})
		if err := h.imagined.commit(versioning.NewView(1), plan); err != nil {
			t.Fatal(err)
		}
		if failed = h.imagined.age(rows); failed != nil {
			break
		}
	}
	if failed == nil {
		t.Fatal("nothing has failed")
	}
	_, err := h.fold(t.Context(), e, nil, func(*versioning.View) *versioning.Plan {
		t.Error("it goes on")
		return &versioning.Plan{}
	})
	if fatal, ok := errors.AsType[*versioning.Error](err); !ok || fatal.Cause != versioning.Fatal {
		t.Errorf("the next batch: %v", err)
	}
}
