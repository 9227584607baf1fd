package promtest

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAlertRules runs the unit tests of the alerts, in otel/alerts.
func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed; Debian has it in package prometheus")
	}
	out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", "../../otel/alerts/pawl_test.yaml").CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// TestAlerts shows that each alert fires when its fault happens to the running example, and clears
// when the fault is over. Meanwhile the example produces data for each query of the dashboard.
func TestAlerts(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes about two minutes")
	}
	s := openShop(t)
	// Without a fault, no alert fires for ten minutes.
	for until := time.Now().Add(10 * time.Minute / hurry); time.Now().Before(until); <-time.After(scrapeEvery) {
		if firing, err := s.state(); len(firing) > 0 || err != nil {
			t.Fatalf("without a fault, these fire: %v, %v", firing, err)
		}
	}
	for _, c := range []struct {
		alert string
		fault func(t *testing.T, s *shop) (over func())
	}{
		{"PawlWorkerStuck", lockTable},
		{"PawlDeadLetters", sendGarbage},
		{"PawlParkedTooOld", parkRecord},
		{"PawlDuplicateSurge", sendAgain},
		{"PawlContention", writeRows},
		{"PawlOutboxOld", loseReplicas},
		{"PawlLagGrowing", slowDown},
		{"PawlGatewayFailing", takeDown},
	} {
		s.await(t, c.alert, false)
		over := c.fault(t, s)
		s.await(t, c.alert, true)
		over()
		s.await(t, c.alert, false)
	}
	for _, expr := range expressions() {
		expr = strings.NewReplacer("$group", "order-workers", "$__rate_interval", "1m").Replace(expr)
		switch n, err := s.samples(t.Context(), expr); {
		case err != nil:
			t.Errorf("dashboard: %s: %v", expr, err)
		case n == 0:
			t.Errorf("dashboard: %s has no data", expr)
		}
	}
}

// lockTable is somebody who forgets a transaction. An operator's first idea, to end the worker's
// sessions, does not help, but shows as retries.
func lockTable(t *testing.T, s *shop) (over func()) {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE orderflow.orders IN EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	stop := during(t, time.Second, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND now() - query_start > interval '700 milliseconds'`)
		return err
	})
	return func() {
		stop()
		if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

// sendGarbage is a producer with a bug.
func sendGarbage(t *testing.T, s *shop) (over func()) {
	t.Helper()
	if err := s.send(t.Context(), &kgo.Record{Value: []byte("garbage")}, record("o1", "order.misspelt", nil)); err != nil {
		t.Fatal(err)
	}
	return func() {}
}

// parkRecord is an event whose predecessor is missing. Later that comes after all.
func parkRecord(t *testing.T, s *shop) (over func()) {
	t.Helper()
	if err := s.send(t.Context(), record("late", "order.cancelled", map[string]string{"reason": "r"})); err != nil {
		t.Fatal(err)
	}
	stop := during(t, time.Second, func(ctx context.Context) error { // so that it need not wait for a minute
		_, err := s.pool.Exec(ctx, `UPDATE pawl.parked SET parked_at = now() - interval '90 seconds' WHERE entity = 'late'`)
		return err
	})
	return func() {
		stop()
		if err := s.send(t.Context(), placed("late")); err != nil {
			t.Error(err)
		}
	}
}

// sendAgain is a producer that sends everything again and again.
func sendAgain(t *testing.T, s *shop) (over func()) {
	t.Helper()
	sent := make([]kgo.Record, 50)
	for n := range sent {
		sent[n] = *placed(fmt.Sprint("again", n))
	}
	return during(t, 200*time.Millisecond, func(ctx context.Context) error {
		var again []*kgo.Record
		for _, r := range sent {
			again = append(again, &r)
		}
		return s.send(ctx, again...)
	})
}

// writeRows is another program that writes the rows all the time.
func writeRows(t *testing.T, s *shop) (over func()) {
	t.Helper()
	return during(t, time.Millisecond, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `UPDATE orderflow.orders SET customer = customer WHERE state = 'paid'`)
		return err
	})
}

// loseReplicas makes the topic to which messages go read-only: it has too few replicas in sync.
func loseReplicas(_ *testing.T, s *shop) (over func()) {
	return s.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: shipments, Err: kerr.NotEnoughReplicas, Count: -1}).Remove
}

// slowDown is a trigger that takes longer for each row than the customers need for an order.
func slowDown(t *testing.T, s *shop) (over func()) {
	t.Helper()
	s.exec(t, `CREATE FUNCTION orderflow.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$`)
	s.exec(t, `CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON orderflow.orders FOR EACH ROW EXECUTE FUNCTION orderflow.slow()`)
	return func() { s.exec(t, `DROP TRIGGER slow ON orderflow.orders`) }
}

// takeDown makes the backend of a gateway fail.
func takeDown(_ *testing.T, s *shop) (over func()) {
	s.api.down.Store(true)
	return func() { s.api.down.Store(false) }
}
