package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pawl-go/pawl/cli"
)

// TestKept lists, shows and redrives records that a worker could not apply.
func TestKept(t *testing.T) {
	brokers, url := servers(t)
	must := func(args ...string) string {
		t.Helper()
		args = append(args, "--database-url", url)
		if args[0] == "produce" {
			args = append(args, "--brokers", brokers)
		}
		stdout, _, err := execute(t, args...)
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
	row := regexp.MustCompile(`(?m)^ *(\d+) .* order +(\S+-\d+) .*rejected +constraint`).FindStringSubmatch(list)
	if row == nil {
		t.Fatalf("the list shows no constraint violation:\n%s", list)
	}
	id, order := row[1], row[2]
	shown := must("dead-letters", "show", id, "--payload")
	for _, part := range []string{order, "constraint", "ce_id", "SQLSTATE 23514", `value      {"`} {
		if !strings.Contains(shown, part) {
			t.Errorf("show %s does not print %q:\n%s", id, part, shown)
		}
	}
	if parked := must("parked", "list", "--reason=no_entity"); !strings.Contains(parked, "no_entity") {
		t.Errorf("the list shows no record of an order that was never placed:\n%s", parked)
	}
	if status := must("status"); !strings.Contains(status, "orderflow.orders") && !strings.Contains(status, `"orderflow"."orders"`) || !strings.Contains(status, "order-workers") {
		t.Errorf("status:\n%s", status)
	}

	// The first redrive fails: the constraint is dropped only after it.
	out, _, err := execute(t, "dead-letters", "redrive", id, "--apply", "--database-url", url)
	if !strings.Contains(out, "rejected") || cli.ExitStatus(err) != 1 {
		t.Errorf("redrive before the fix: %v, %s", err, out)
	}
	var constraint string
	query(t, url, `SELECT conname FROM pg_constraint WHERE conrelid = 'orderflow.orders'::regclass AND contype = 'c' LIMIT 1`, &constraint)
	query(t, url, fmt.Sprintf(`ALTER TABLE orderflow.orders DROP CONSTRAINT %q`, constraint))
	exists := `orderflow.orders WHERE id = '` + order + `'`
	if out := must("dead-letters", "redrive", id); !strings.Contains(out, "applied") || !strings.Contains(out, "nothing was written") {
		t.Errorf("dry run: %s", out)
	}
	if n := count(t, url, exists); n != 0 {
		t.Errorf("the dry run created %d orders", n)
	}
	must("dead-letters", "redrive", id, "--apply")
	if n := count(t, url, exists); n != 1 {
		t.Errorf("%d orders after the redrive, want 1", n)
	}
	if out := must("entity", order, "--machine=order"); !strings.Contains(out, "order.placed") {
		t.Errorf("the entity has no history: %s", out)
	}
	if out := must("dead-letters", "list", "--entity", order, "--reason=constraint"); !strings.Contains(out, "no dead letters") {
		t.Errorf("the dead letter still exists: %s", out)
	}
	if n := count(t, url, `pawl.audit WHERE verb = 'dead-letters redrive' AND ids = '{`+id+`}'`); n != 2 {
		t.Errorf("%d entries about the redrive in the table audit, want 2", n)
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
