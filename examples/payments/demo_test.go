package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/examples/payments/internal/demo"
	"github.com/pawl-go/pawl/examples/payments/internal/expect"
)

// TestDemo runs the demo as a new user does, with nothing set up.
func TestDemo(t *testing.T) {
	t.Parallel()
	stdout, stderr, err := execute(t, "--payments=150", "--accounts=20", "--seed=7", "--session-timeout=500ms")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
	}
	for _, part := range []string{"kill -9", "message_taken", "constraint", "no_branch", "records lost", "every cent"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("the report does not contain %q:\n%s", part, stdout)
		}
	}
}

// TestDemoNotices tampers with the database before the demo checks it.
func TestDemoNotices(t *testing.T) {
	t.Parallel()
	const tamper = `
UPDATE payments.payments SET captured = captured + 1 WHERE id = (SELECT min(id) FROM payments.payments WHERE captured < authorized);
UPDATE payments.payments SET risk_reviews = risk_reviews - 1 WHERE id = (SELECT min(id) FROM payments.payments WHERE risk_reviews > 0);
UPDATE payments.accounts SET balance = balance + 1 WHERE id = 'book-000-00'`
	var out bytes.Buffer
	report, err := runDemo(t.Context(), demo.Config{
		Payments: 60, Accounts: 10, Seed: 2, SessionTimeout: 500 * time.Millisecond, Stdout: &out, Stderr: &out,
		Inspect: func(ctx context.Context, databaseURL string) error {
			conn, err := pgx.Connect(ctx, databaseURL)
			if err != nil {
				return err
			}
			_, err = conn.Exec(ctx, tamper)
			return errors.Join(err, conn.Close(ctx))
		},
	})
	if !errors.Is(err, demo.ErrMismatch) {
		t.Fatalf("the demo returned %v, want ErrMismatch\n%s", err, &out)
	}
	if report.WritesLost != 1 || report.MoneyLost == 0 || report.MovedByReplay != 0 || report.Fates[expect.Lost] != 0 {
		t.Errorf("the report does not show what was done: %v\n%s", err, &out)
	}
	for _, part := range []string{"add up", "risk reviews of payment", "account book-000-00 is"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the report does not contain %q:\n%s", part, &out)
		}
	}
	if strings.Contains(out.String(), "every cent") {
		t.Errorf("the report says that all is well:\n%s", &out)
	}
}
