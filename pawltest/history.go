package pawltest

import (
	"os"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/statemachine"
)

// History folds a sample of what has happened in production through a machine, which a change of
// the code may have altered. file is one that [check.WriteHistory] has written. The test fails if an
// entity would have ended in another state, or would have come to it in another way, and prints at
// which steps. Package check says what that means for steps with several branches.
//
// It returns what it has found. A test that expects differences calls [check.Fold] instead.
func History(t TB, machine *statemachine.Machine, file string) *check.History {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatalf("pawltest: open the history of machine %q: %v", machine.Name(), err)
		return nil
	}
	defer f.Close()
	h, err := check.Fold(machine, check.ReadHistory(f, machine.Name()))
	switch {
	case err != nil:
		t.Fatalf("pawltest: %s: %v", file, err)
	case h.Entities == 0:
		t.Fatalf("pawltest: %s has no steps of machine %q", file, machine.Name())
	case !h.Same():
		t.Errorf("machine %q, version %d, makes something else of the history in %s:\n%s", machine.Name(), machine.Version(), file, indent(h.String(), "  "))
	}
	return h
}
