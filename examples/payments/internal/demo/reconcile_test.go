package demo

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/pawl-go/pawl/examples/payments/internal/expect"
	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// made is generated traffic, as if produced to one partition.
func made() (t traffic.Traffic, ledger []traffic.Sent) {
	t = traffic.Generate(traffic.Plan{Payments: 150, Accounts: 20, Seed: 1})
	for i, r := range t.Records {
		ledger = append(ledger, traffic.Sent{Record: r, Place: traffic.Place{Offset: int64(i)}})
	}
	return t, ledger
}

// asExpected returns a database that matches the model.
func asExpected(ledger []traffic.Sent, want expect.Result) *found {
	f := newFound()
	f.payments, f.accounts = maps.Clone(want.Payments), maps.Clone(want.Accounts)
	for _, r := range ledger {
		fate, m := want.Fates[r.Place], r.Message
		if fate.Kind == expect.Applied {
			f.steps[message{m.Payment + m.Account + m.From, r.MessageID()}]++
		}
		if fate.Kind != expect.Duplicate {
			f.fates[r.Place] = []expect.Fate{fate}
		}
	}
	return f
}

func TestReconcileBalances(t *testing.T) {
	traffic, ledger := made()
	want := expect.Of(ledger)
	r := newReport(traffic)
	r.reconcile(ledger, asExpected(ledger, want), want)
	if err := r.verdict(); err != nil {
		t.Errorf("%v: %v", err, r.Problems)
	}
	total := 0
	for _, n := range r.Fates {
		total += n
	}
	if total != len(ledger) || r.Produced != len(ledger) || len(r.Rows) == 0 {
		t.Errorf("the fates do not add up: %+v", r)
	}
}

func TestReconcileNotices(t *testing.T) {
	made, ledger := made()
	want := expect.Of(ledger)
	first := func(kind expect.Kind, kinds ...string) traffic.Sent {
		for _, r := range ledger {
			if want.Fates[r.Place].Kind == kind && (len(kinds) == 0 || r.Message.Type == kinds[0]) {
				return r
			}
		}
		panic("no record is " + string(kind))
	}
	captured := first(expect.Applied, traffic.Captured)
	for _, c := range []struct {
		name   string
		tamper func(*found)
		says   string
		wrong  func(*Report) bool
	}{
		{
			"a lost dead letter", func(f *found) { delete(f.fates, first(expect.DeadLettered).Place) },
			"is lost", func(r *Report) bool { return r.Fates[expect.Lost] == 1 },
		},
		{
			"a message applied twice", func(f *found) {
				f.steps[message{captured.Message.Payment, captured.MessageID()}]++
			},
			"2 times", func(r *Report) bool { return r.AppliedTwice == 1 },
		},
		{
			"a record with two fates", func(f *found) {
				f.fates[captured.Place] = append(f.fates[captured.Place], expect.Fate{Kind: expect.DeadLettered, Reason: "refused"})
			},
			"2 fates", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"a record that was never produced", func(f *found) {
				f.fates[traffic.Place{Partition: 9}] = []expect.Fate{{Kind: expect.Applied}}
			},
			"was never produced", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"a cent too many", func(f *found) {
				p := f.payments[captured.Message.Payment]
				p.Captured++
				f.payments[captured.Message.Payment] = p
			},
			"add up", func(r *Report) bool { return r.MoneyLost == 1 && r.Mismatches == 2 },
		},
		{
			"money that moved between accounts", func(f *found) {
				a, b := f.accounts["book-000-00"], f.accounts["book-000-01"]
				a.Balance, b.Balance = a.Balance-1, b.Balance+1
				f.accounts["book-000-00"], f.accounts["book-000-01"] = a, b
			},
			"account book-000-01 is", func(r *Report) bool { return r.MoneyLost == 0 && r.Mismatches == 2 },
		},
		{
			"a payment that is not there", func(f *found) { delete(f.payments, captured.Message.Payment) },
			"want", func(r *Report) bool { return r.MoneyLost == 1 },
		},
		{
			"a payment that was never authorized", func(f *found) { f.payments["x"] = expect.Payment{State: "authorized"} },
			"must not exist", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"wrong fees", func(f *found) {
				p := f.payments[captured.Message.Payment]
				p.Fees++
				f.payments[captured.Message.Payment] = p
			},
			"Fees:", func(r *Report) bool { return r.Mismatches == 1 },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := asExpected(ledger, want)
			c.tamper(f)
			r := newReport(made)
			r.reconcile(ledger, f, want)
			if err := r.verdict(); !errors.Is(err, ErrMismatch) {
				t.Errorf("verdict returned %v, want ErrMismatch", err)
			}
			if !c.wrong(r) || !strings.Contains(strings.Join(r.Problems, "\n"), c.says) {
				t.Errorf("the report does not show the problem: %+v", r)
			}
		})
	}
}

func TestCompareWrites(t *testing.T) {
	wrote := newWritten()
	wrote.reviews["p"], wrote.notes["p"], wrote.interest["a"], wrote.interest["b"] = 3, "new", 5, 0
	same := newWritten()
	same.reviews["p"], same.notes["p"], same.interest["a"], same.reviews["q"] = 3, "new", 5, 0
	r := newReport(traffic.Traffic{})
	if r.compareWrites(wrote, same); r.Mismatches != 0 || r.Writes != 8 {
		t.Errorf("%d writes, %v", r.Writes, r.Problems)
	}
	lost := newWritten()
	lost.reviews["p"], lost.notes["p"], lost.interest["a"] = 2, "old", 3
	if r.compareWrites(wrote, lost); r.WritesLost != 4 || r.Mismatches != 3 {
		t.Errorf("%d writes lost: %v", r.WritesLost, r.Problems)
	}
}

func TestCompareSnapshots(t *testing.T) {
	r := newReport(traffic.Traffic{})
	r.compareSnapshots(snapshot{"1": "a", "2": "b", "3": "c"}, snapshot{"1": "a", "2": "x", "4": "d"})
	if r.MovedByReplay != 3 || !errors.Is(r.verdict(), ErrMismatch) {
		t.Errorf("%d rows changed, want 3; %v", r.MovedByReplay, r.Problems)
	}
}

func TestManyProblems(t *testing.T) {
	r := newReport(traffic.Traffic{Struck: make([]int, len(traffic.Faults))})
	for range maxProblems + 1500 {
		r.problem("trouble")
	}
	var out strings.Builder
	if err := r.print(&out, time.Second); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "and 1,500 more") || strings.Contains(out.String(), "accounted for") {
		t.Errorf("the table does not say how many problems it omits:\n%s", &out)
	}
}

func TestAmounts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{amount("EUR", 0), "0.00"},
		{amount("EUR", 5), "0.05"},
		{amount("EUR", -123456789), "-1,234,567.89"},
		{amount("JPY", 1234), "1,234"},
		{fees("JPY", 1234), "0.1234"},
		{fees("EUR", 12345678), "12.345678"},
		{thousands(999), "999"},
		{thousands(1234567), "1,234,567"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}
