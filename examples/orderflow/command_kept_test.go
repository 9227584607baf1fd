package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestKept lists, shows and redrives records that a worker could not apply.
func TestKept(t *testing.T) {
	brokers, url := servers(t)
	must := func(args ...string) string {
		t.Helper()
		stdout, _, err := execute(t, append(args, "--brokers", brokers, "--database-url", url)...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return stdout
	}
	must("migrate", "up")
	must("produce", "--orders=50")
	runWorkerUntil(t, brokers, url, `SELECT EXISTS (SELECT FROM pawl.dead_letters WHERE reason = 'constraint')
		AND EXISTS (SELECT FROM pawl.parked WHERE reason = 'no_entity')`)

	list := must("dead-letters", "list", "--reason=constraint")
	row := regexp.MustCompile(`(?m)^(\d+) .* (\S+-\d+) .*rejected +constraint`).FindStringSubmatch(list)
	if row == nil {
		t.Fatalf("the list shows no constraint violation:\n%s", list)
	}
	id, order := row[1], row[2]
	shown := must("dead-letters", "show", id)
	for _, part := range []string{order, "constraint", "ce_id", "SQLSTATE 23514", `value     "{`} {
		if !strings.Contains(shown, part) {
			t.Errorf("show %s does not print %q:\n%s", id, part, shown)
		}
	}
	if parked := must("parked", "list"); !strings.Contains(parked, "no_entity") {
		t.Errorf("the list shows no record of an order that was never placed:\n%s", parked)
	}

	// The first redrive fails: the constraint is dropped only after it.
	if out := must("dead-letters", "redrive", "--id", id, "--apply"); !strings.Contains(out, "rejected") {
		t.Errorf("redrive before the fix: %s", out)
	}
	var constraint string
	query(t, url, `SELECT conname FROM pg_constraint WHERE conrelid = 'orderflow.orders'::regclass AND contype = 'c' LIMIT 1`, &constraint)
	query(t, url, fmt.Sprintf(`ALTER TABLE orderflow.orders DROP CONSTRAINT %q`, constraint))
	exists := `orderflow.orders WHERE id = '` + order + `'`
	if out := must("dead-letters", "redrive", "--order", order); !strings.Contains(out, "applied") || !strings.Contains(out, "nothing was written") {
		t.Errorf("dry run: %s", out)
	}
	if n := count(t, url, exists); n != 0 {
		t.Errorf("the dry run created %d orders", n)
	}
	must("dead-letters", "redrive", "--id", id, "--apply")
	if n := count(t, url, exists); n != 1 {
		t.Errorf("%d orders after the redrive, want 1", n)
	}
	if out := must("dead-letters", "list", "--order", order, "--reason=constraint"); !strings.Contains(out, "0 records") {
		t.Errorf("the dead letter still exists: %s", out)
	}
}

// runWorkerUntil runs a worker until the query returns true.
func runWorkerUntil(t *testing.T, brokers, url, sql string, flags ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() {
		_, _, err := executeUntil(ctx, append([]string{"worker", "--brokers", brokers, "--database-url", url}, flags...)...)
		done <- err
	}()
	deadline := time.Now().Add(30 * time.Second)
	for ok := false; !ok; query(t, url, sql, &ok) {
		if time.Now().After(deadline) {
			t.Fatalf("still false after 30s: %s", sql)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("the worker returned %v after a stop", err)
	}
}
