package pawltest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var database = &pawltest.Database{DDL: `
CREATE TABLE payments (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
	amount bigint NOT NULL, captured bigint NOT NULL, refunded bigint NOT NULL, note text NOT NULL);
CREATE TABLE tickets (id bigint PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, title text, due date);`}

// everywhere runs a test in memory and on a database.
func everywhere(t *testing.T, test func(t *testing.T, pool *pgxpool.Pool)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, nil)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, pawltest.Postgres(t, database))
	})
}

func paymentConfig(pool *pgxpool.Pool) pawltest.Config {
	return pawltest.Config{
		Tables: []postgres.Table{{Machine: payments(mistakes{}), Name: "payments"}}, Decode: decodeOf(mistakes{}), Pool: pool,
	}
}

// TestWorker goes through a payment's life.
func TestWorker(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, pool *pgxpool.Pool) {
		w := pawltest.New(t, paymentConfig(pool))
		early := w.Give("p1", "payment.captured", Money{40}).Want(versioning.Early).WantReason(versioning.ReasonNoEntity)
		w.WantState("p1", statemachine.None)
		w.WantParked("p1", versioning.ReasonNoEntity)
		w.Give("p1", "payment.authorized", Money{100}).Want(versioning.Applied)
		early.Want(versioning.Applied)
		w.WantRow("p1", Partly, Payment{Amount: 100, Captured: 40})
		w.WantParked("p1")
		early.Redeliver().Want(versioning.Duplicate)
		early.Resend().Want(versioning.Duplicate)
		w.Give("p1", "payment.captured", Money{70}).Want(versioning.Rejected).WantReason(versioning.ReasonRefused)
		w.CrashBeforeCommit()
		w.Give("p1", "payment.captured", Money{10}).Want(versioning.Applied)
		w.CrashAfterCommit()
		w.Give("p1", "payment.captured", Money{20}).Want(versioning.Applied)
		w.WantRow("p1", Partly, Payment{Amount: 100, Captured: 70})
		w.WantDeadLetters("p1", versioning.ReasonRefused)
		w.WantMessages("p1",
			pawltest.Message{Topic: "ledger", Value: Entry{"p1", 40}},
			pawltest.Message{Topic: "ledger", Value: Entry{"p1", 10}},
			pawltest.Message{Topic: "ledger", Value: Entry{"p1", 20}})
		w.Hold(ledgerAgrees, neverTooMuch)
	})
}

// TestTimers advances the clock.
func TestTimers(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, pool *pgxpool.Pool) {
		const week = 7 * 24 * time.Hour
		w := pawltest.New(t, paymentConfig(pool))
		start := w.Now()
		w.Give("p1", "payment.authorized", Money{100})
		if n := w.Advance(24 * time.Hour); n != 0 {
			t.Errorf("%d timers fired after a day", n)
		}
		w.Give("p2", "payment.authorized", Money{100})
		w.WantTimers("p1", map[statemachine.Event]time.Duration{"payment.expired": week - 24*time.Hour})
		w.WantTimers("p2", map[statemachine.Event]time.Duration{"payment.expired": week})
		w.NextTimer()
		w.WantState("p1", Voided)
		w.WantState("p2", Authorized)
		if got := w.Now().Sub(start); got != week {
			t.Errorf("the clock shows %v, want %v", got, week)
		}
		w.Give("p2", "payment.captured", Money{100})
		w.WantTimers("p2", nil)
		if n := w.Advance(2 * week); n != 0 {
			t.Errorf("%d timers fired of a payment that was captured", n)
		}
		w.WantState("p2", Captured)
	})
}

// TestSend delivers records with the user's Decode.
func TestSend(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, pool *pgxpool.Pool) {
		w := pawltest.New(t, paymentConfig(pool))
		w.Send(pawltest.Record{Value: wire{ID: "a", Type: "payment.authorized", Payment: "p1", Amount: 100}}).Want(versioning.Applied)
		w.Send(pawltest.Record{Value: wire{ID: "a", Type: "payment.authorized", Payment: "p1", Amount: 100}}).Want(versioning.Duplicate)
		w.Send(pawltest.Record{Value: wire{ID: "a", Type: "payment.captured", Payment: "p1", Amount: 100}}).WantReason(versioning.ReasonMessageTaken)
		w.Send(pawltest.Record{Value: "{"}).WantReason(versioning.ReasonUndecodable)
		w.Send(pawltest.Record{}).WantReason(versioning.ReasonUndecodable)
		w.WantDeadLetters("p1", versioning.ReasonMessageTaken)
	})
}

// A record that can't be decoded for now is no dead letter: a worker would try again.
func TestDecodeInTrouble(t *testing.T) {
	t.Parallel()
	cfg := paymentConfig(nil)
	cfg.Decode = func(*versioning.Record) ([]versioning.Change, error) {
		return nil, versioning.Trouble(errors.New("the registry does not answer"))
	}
	failures := failuresOf(t, func(tb pawltest.TB) { pawltest.New(tb, cfg).Send(pawltest.Record{Value: wire{ID: "a"}}) })
	if len(failures) != 1 || !strings.Contains(failures[0], "the registry does not answer") {
		t.Errorf("failures: %q", failures)
	}
}

var tickets = statemachine.MustCompile(statemachine.Definition{
	Name: "ticket", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "opened", To: "open"},
		{Event: "closed", From: statemachine.In("open"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

// TestTables has two machines, one without functions.
func TestTables(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, pool *pgxpool.Pool) {
		cfg := paymentConfig(pool)
		cfg.Tables = append(cfg.Tables, postgres.Table{Machine: tickets, Name: "tickets"})
		w := pawltest.New(t, cfg)
		w.Change(
			versioning.Change{Machine: "ticket", Key: "7", Event: "opened", Set: versioning.Columns{"title": "a refund", "due": nil}},
			versioning.Change{Machine: "payment", Key: "p1", Event: "payment.authorized", Data: Money{5}},
		).Want(versioning.Applied)
		w.WantRow("ticket/7", "open", versioning.Columns{"title": "a refund", "due": nil})
		w.WantRow("payment/p1", Authorized, Payment{Amount: 5})
		w.Change(
			versioning.Change{Machine: "ticket", Key: "7", Event: "closed"},
			versioning.Change{Machine: "payment", Key: "p1", Event: "payment.captured", Data: Money{6}},
		).Want(versioning.Rejected)
		w.WantState("ticket/7", "open")
	})
}

// TestFailuresTell checks what a failed test prints.
func TestFailuresTell(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, pool *pgxpool.Pool) {
		got := failuresOf(t, func(tb pawltest.TB) {
			w := pawltest.New(tb, paymentConfig(pool))
			w.Give("p1", "payment.refunded", Money{5})
			w.Give("p1", "payment.authorized", Money{100})
			w.Give("p1", "payment.captured", Money{40})
			w.Give("p1", "payment.captured", Money{70})
			w.Give("p1", "payment.refunded", Money{50})
			w.WantRow("p1", Partly, Payment{Amount: 100, Captured: 41})
			w.WantMessages("p1", pawltest.Message{Topic: "ledger", Value: Entry{"p1", 41}})
			w.WantParked("p1")
			w.WantDeadLetters("p1", versioning.ReasonIllegal)
			w.WantTimers("p1", map[statemachine.Event]time.Duration{"payment.expired": 1})
			w.WantJobs("p1", 1)
			w.WantState("p1", Voided)
			w.Give("p1", "payment.captured", Money{70}).Want(versioning.Applied).WantReason(versioning.ReasonIllegal)
		})
		if len(got) != 9 {
			t.Fatalf("%d failures, want 9: %s", len(got), strings.Join(got, "\n"))
		}
		for _, part := range []string{
			"-", "+", "Captured",
			"payment p1 is partly, version 3: {Amount:100 Captured:40 Refunded:5 Note:}",
			"1: payment.authorized to authorized", "2: payment.captured from authorized to partly", "3: payment.refunded from partly to partly",
			`ledger {"Payment":"p1","Amount":40}`,
			"delivery 5, payment.refunded: not_yet",
			"delivery 4, payment.captured: rejected, refused: captures would exceed the 100 authorized",
			"1: payment.refunded for p1 {Amount:5}: applied",
			"4: payment.captured for p1 {Amount:70}: rejected",
		} {
			if !strings.Contains(got[0], part) {
				t.Errorf("the failure does not say %q:\n%s", part, got[0])
			}
		}
	})
}

// TestMisuse checks the errors for those who use the kit in a wrong way.
func TestMisuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says string
		test func(t pawltest.TB)
	}{
		{"no tables", func(t pawltest.TB) { pawltest.New(t, pawltest.Config{}) }},
		{"has no Machine", func(t pawltest.TB) { pawltest.New(t, pawltest.Config{Tables: make([]postgres.Table, 1)}) }},
		{"no Decode", func(t pawltest.TB) { pawltest.Of(t, tickets).Send(pawltest.Record{}) }},
		{"no timer is armed", func(t pawltest.TB) { pawltest.Of(t, tickets).NextTimer() }},
		{`"payment/p1"`, func(t pawltest.TB) {
			cfg := paymentConfig(nil)
			cfg.Tables = append(cfg.Tables, postgres.Table{Machine: tickets})
			pawltest.New(t, cfg).Give("p1", "payment.voided", nil)
		}},
		{"the row type of machine", func(t pawltest.TB) { pawltest.New(t, paymentConfig(nil)).WantRow("p1", statemachine.None, 5) }},
		{"payment.captured takes pawltest_test.Money", func(t pawltest.TB) { pawltest.Walk{Config: paymentConfig(nil)}.Run(t) }},
		{"payment.gone is no event", func(t pawltest.TB) {
			w := walkOf(mistakes{})
			w.Data = map[statemachine.Event][]any{"payment.gone": nil}
			w.Run(t)
		}},
		{"authorized payment.captured (covers the rest)", func(t pawltest.TB) {
			w := walkOf(mistakes{})
			w.Data["payment.captured"] = []any{Money{1}}
			w.Scripts = 5
			w.Run(t)
		}},
	} {
		t.Run(c.says, func(t *testing.T) {
			t.Parallel()
			if got := failuresOf(t, c.test); len(got) != 1 || !strings.Contains(got[0], c.says) {
				t.Errorf("failures %q, want one with %q", got, c.says)
			}
		})
	}
}
