package main

import (
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/statemachine"
)

func eur(amount int64) Money { return Money{amount, "EUR"} }

// row returns a payment of 10.00 euros.
func row(captured, refunded int64) PaymentRow {
	return PaymentRow{Currency: "EUR", Authorized: 1000, Captured: captured, Refunded: refunded, FeeRate: decimal.RequireFromString("0.014")}
}

func TestPaymentActions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		do     func(*statemachine.Firing, *PaymentRow, Money) error
		from   statemachine.State
		before PaymentRow
		money  Money
		after  PaymentRow // without the fees
		err    string
		notYet bool
	}{
		{"a first capture", capture, Authorized, row(0, 0), eur(400), row(400, 0), "", false},
		{"the rest", capture, Partly, row(400, 0), eur(600), row(1000, 0), "", false},
		{"more than the rest", capture, Partly, row(400, 0), eur(601), row(400, 0), "would exceed the authorized 1000: 400 are captured, and this one is for 601", false},
		{"more than fits into 64 bits", capture, Partly, row(400, 0), eur(math.MaxInt64), row(400, 0), "would exceed", false},
		{"nothing", capture, Authorized, row(0, 0), eur(0), row(0, 0), "must be positive", false},
		{"less than nothing", capture, Partly, row(400, 0), eur(-400), row(400, 0), "must be positive", false},
		{"another currency", capture, Authorized, row(0, 0), Money{400, "USD"}, row(0, 0), `is in "USD"`, false},

		{"a part back", refund, Captured, row(1000, 0), eur(1), row(1000, 1), "", false},
		{"all back", refund, Captured, row(1000, 1), eur(999), row(1000, 1000), "", false},
		{"more than was captured", refund, Captured, row(1000, 1), eur(1000), row(1000, 1), "1000 can't be refunded: 1000 were captured, and 1 of them have gone back", false},
		{"more than was captured so far", refund, Partly, row(400, 100), eur(301), row(400, 100), "301 can't be refunded", true},
		{"as much as can still be captured", refund, Partly, row(400, 100), eur(900), row(400, 100), "900 can't be refunded", true},
		{"more than can still be captured", refund, Partly, row(400, 100), eur(901), row(400, 100), "901 can't be refunded", false},
		{"a negative refund", refund, Captured, row(1000, 1), eur(-1), row(1000, 1), "must be positive", false},
		{"a chargeback before its capture", chargeBack, Partly, row(400, 0), eur(1000), row(400, 0), "can't be charged back", true},
		{"a chargeback after a refund", chargeBack, Captured, row(1000, 300), eur(701), row(1000, 300), "can't be charged back", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.before
			err := c.do(&statemachine.Firing{From: c.from}, &p, c.money)
			p.Fees = decimal.Zero
			if diff := cmp.Diff(c.after, p); diff != "" {
				t.Errorf("the row differs (-want +got):\n%s", diff)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("the error is %v, want one with %q", err, c.err)
			}
			if statemachine.IsNotYet(err) != c.notYet {
				t.Errorf("not yet: %t, want %t", statemachine.IsNotYet(err), c.notYet)
			}
		})
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	var p PaymentRow
	rate := decimal.RequireFromString("0.014")
	if err := authorize(nil, &p, Authorization{eur(1000), rate}); err != nil || !cmp.Equal(p, row(0, 0)) {
		t.Errorf("authorize made %+v, %v", p, err)
	}
	for _, a := range []Authorization{{Money: eur(0)}, {Money: eur(-5)}, {Money: eur(5), FeeRate: rate.Neg()}} {
		if err := authorize(nil, new(PaymentRow), a); err == nil {
			t.Errorf("authorize accepts %+v", a)
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for money, want := range map[int64]bool{599: false, 600: true, 601: false, math.MinInt64: false, math.MaxInt64: false} {
		if got := coversTheRest(row(400, 0), eur(money)); got != want {
			t.Errorf("%d of 600 covers the rest: %t", money, got)
		}
		if got := returnsEverything(row(1000, 400), eur(money)); got != want {
			t.Errorf("%d of 600 returns everything: %t", money, got)
		}
	}
}

func TestFee(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount     int64
		rate, want string
	}{
		{1000, "0.014", "14"},
		{1, "0.014", "0.014"},
		{1, "0.00005", "0"}, // halves go to the even neighbor
		{3, "0.00005", "0.0002"},
		{5, "0.00005", "0.0002"},
		{math.MaxInt64, "1", "9223372036854775807"},
	} {
		if got := fee(c.amount, decimal.RequireFromString(c.rate)); !got.Equal(decimal.RequireFromString(c.want)) {
			t.Errorf("the fee for %d at %s is %s, want %s", c.amount, c.rate, got, c.want)
		}
	}
}

func TestAccountActions(t *testing.T) {
	t.Parallel()
	account := func(balance int64) AccountRow { return AccountRow{"EUR", balance} }
	for _, c := range []struct {
		name   string
		do     func(*statemachine.Firing, *AccountRow, Money) error
		before AccountRow
		money  Money
		after  AccountRow
		err    string
	}{
		{"open", openAccount, AccountRow{}, eur(0), account(0), ""},
		{"open with a deposit", openAccount, AccountRow{}, eur(5), account(5), ""},
		{"open with a debt", openAccount, AccountRow{}, eur(-5), AccountRow{}, "must not be negative"},
		{"credit", credit, account(5), eur(7), account(12), ""},
		{"credit nothing", credit, account(5), eur(0), account(5), "must be positive"},
		{"credit too much", credit, account(5), eur(math.MaxInt64 - 4), account(5), "has no room"},
		{"credit another currency", credit, account(5), Money{1, "USD"}, account(5), `is in "USD"`},
		{"debit", debit, account(5), eur(5), account(0), ""},
		{"debit too much", debit, account(5), eur(6), account(5), "the balance is 5, which is less than 6"},
		{"debit a negative amount", debit, account(5), eur(-6), account(5), "must be positive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := c.before
			err := c.do(nil, &a, c.money)
			if a != c.after {
				t.Errorf("the row is %+v, want %+v", a, c.after)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("the error is %v, want one with %q", err, c.err)
			}
		})
	}
}

func TestReadmeShowsTheGraph(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*statemachine.Machine{Payment, Account} {
		if !strings.Contains(string(readme), "```mermaid\n"+m.Mermaid()+"```") {
			t.Errorf("README.md does not show the machine %q:\n%s", m.Name(), m.Mermaid())
		}
	}
}
