package postgres_test

import (
	"testing"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestSweepAfterRollBack checks that an older version judges what a newer one has parked because
// the entity's state was retired: after a roll back, nothing else may happen to the entity.
func TestSweepAfterRollBack(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	var l log
	apply(t, old, l.say("a", "placed"), l.say("a", "captured"), l.say("b", "placed"))
	newer := open(t, pool, postgres.Table{Machine: renamed(2, true), Name: "orders"})
	wantVerdicts(t, apply(t, newer, l.say("a", "shipped"), l.say("b", "shipped")), "early not_yet", "early not_yet")
	swept, err := old.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != 1 {
		t.Errorf("Sweep = %+v, %v", swept, err)
	}
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`, "a shipped 3", "b pending 1")
	wantRows(t, pool, `SELECT entity || ' ' || definition FROM pawl.parked`, "b 2")
}
