package pawltest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestHistory exports the history of a database and plays it to the same machine and to a changed
// one.
func TestHistory(t *testing.T) {
	t.Parallel()
	pool := pawltest.Postgres(t, database)
	cfg := paymentConfig(pool)
	w := pawltest.New(t, cfg)
	for _, key := range []string{"p1", "p2"} {
		w.Give(key, "payment.authorized", Money{100})
	}
	w.Give("p1", "payment.captured", Money{40})
	w.Give("p1", "payment.captured", Money{60})
	w.Give("p2", "payment.voided", nil)
	reader, err := postgres.OpenReader(t.Context(), pool, "", cfg.Tables...)
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	if err := check.WriteHistory(t.Context(), &lines, reader, "payment", -1); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "history.jsonl")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	h := pawltest.History(t, cfg.Tables[0].Machine, file)
	if h.Entities != 2 || h.Steps != 5 || h.Dependent != 2 {
		t.Errorf("the history has %d entities and %d steps, %d of them dependent, want 2, 5 and 2", h.Entities, h.Steps, h.Dependent)
	}

	changed := cfg.Tables[0].Machine.Definition()
	for i := range changed.Transitions {
		if changed.Transitions[i].Event == "payment.voided" {
			changed.Transitions[i].To = Refunded
		}
	}
	got := failuresOf(t, func(tb pawltest.TB) { pawltest.History(tb, statemachine.MustCompile(changed), file) })
	if len(got) != 1 || !strings.Contains(got[0], "such as p2 at version 2") {
		t.Errorf("failures of a changed machine %q", got)
	}
	for says, name := range map[string]string{"open the history": "none.jsonl", "has no steps": os.DevNull, "check.WriteHistory": "history_test.go"} {
		if got := failuresOf(t, func(tb pawltest.TB) { pawltest.History(tb, cfg.Tables[0].Machine, name) }); len(got) != 1 || !strings.Contains(got[0], says) {
			t.Errorf("failures with %s are %q, want one with %q", name, got, says)
		}
	}
}
