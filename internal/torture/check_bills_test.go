package main

import (
	"slices"
	"testing"
	"time"
)

// TestBills checks that judge detects each kind of violation of bills, and allows what a loss
// explains.
func TestBills(t *testing.T) {
	p := play(t, 7, 3000)
	// of returns a charge, or a fee, that the provider has taken.
	of := func(e *evidence, kind string) *deal {
		return &e.bills.deals[slices.IndexFunc(e.bills.deals, func(d deal) bool { return d.Kind == kind })]
	}
	// again makes the provider take something twice, a minute later.
	again := func(e *evidence, kind string) (first, second *deal) {
		d := *of(e, kind)
		e.bills.deals = append(e.bills.deals, d)
		first, second = of(e, kind), &e.bills.deals[len(e.bills.deals)-1]
		first.Fetched = time.Unix(1_800_000_000, 0)
		first.At = first.Fetched.Add(time.Millisecond)
		second.Fetched, second.At = first.Fetched.Add(time.Minute), first.At.Add(time.Minute)
		return first, second
	}
	lastStep := func(e *evidence) int { // of bills
		i := slices.IndexFunc(e.steps, func(s step) bool { return s.Machine == "bill" })
		n := slices.IndexFunc(e.steps[i:], func(s step) bool { return s.Entity != e.steps[i].Entity })
		return i + n - 1
	}
	twice := func(c charges) int { return c.Twice }
	wrong := func(c charges) int { return c.Wrong }
	tests := []struct {
		name string
		do   func(*evidence)
		want func(charges) int
	}{
		{"a charge is taken twice", func(e *evidence) { again(e, "charge") }, twice},
		{"a fee is taken twice", func(e *evidence) { again(e, "fee") }, twice},
		{"a charge is taken twice after a loss", func(e *evidence) {
			first, second := again(e, "charge")
			e.losses = []loss{{kept: first.Fetched, at: second.Fetched}}
		}, twice},
		{"a fee is taken twice after a loss that kept its mark", func(e *evidence) {
			first, second := again(e, "fee")
			e.losses = []loss{{kept: first.At.Add(1), at: second.Fetched}}
		}, twice},
		{"a fee is taken twice before a loss", func(e *evidence) {
			first, second := again(e, "fee")
			e.losses = []loss{{kept: first.Fetched, at: second.At.Add(1)}}
		}, twice},
		{"a fee is taken twice after a loss", func(e *evidence) {
			first, _ := again(e, "fee")
			e.losses = []loss{{kept: first.Fetched.Add(-2), at: first.Fetched.Add(-1)}}
		}, twice},
		{"a fee is taken again because of a loss", func(e *evidence) {
			first, second := again(e, "fee")
			e.losses = []loss{{kept: first.Fetched, at: second.Fetched}}
		}, func(c charges) int { return c.AfterLoss - c.Twice }},
		{"a charge is missing", func(e *evidence) { e.bills.deals = e.bills.deals[1:] }, func(c charges) int { return c.Missing }},
		{"a charge has another amount", func(e *evidence) { of(e, "charge").Amount++ }, wrong},
		{"a charge is of another bill", func(e *evidence) { of(e, "charge").Entity = "another" }, wrong},
		{"a fee was a charge", func(e *evidence) { of(e, "fee").Kind = "charge" }, wrong},
		{"a charge is taken with another key", func(e *evidence) { of(e, "charge").Key = "another" }, func(c charges) int { return c.Unasked }},
		{"a charge is of no step", func(e *evidence) {
			d := *of(e, "charge")
			d.Key = "another"
			e.bills.deals = append(e.bills.deals, d)
		}, func(c charges) int { return c.Unasked }},
		{"a bill is stuck", func(e *evidence) { e.steps = slices.Delete(e.steps, lastStep(e), lastStep(e)+1) }, func(c charges) int { return c.Stuck }},
		{"the last bill is stuck", func(e *evidence) {
			e.steps = slices.DeleteFunc(e.steps, func(s step) bool { return s.Machine != "bill" })
			e.steps = e.steps[:len(e.steps)-1]
		}, func(c charges) int { return c.Stuck }},
		{"an answer was turned around", func(e *evidence) {
			s := &e.steps[lastStep(e)]
			if s.Event == charged {
				s.Event = turnedOff
			} else {
				s.Event = charged
			}
		}, wrong},
		{"an answer is that of another job", func(e *evidence) { e.steps[lastStep(e)].MessageID = "pawl.job/another" }, wrong},
		{"a receipt is missing", func(e *evidence) { e.bills.receipts[0].Receipt = "" }, wrong},
		{"a key was used for something else", func(e *evidence) { e.bills.conflicts = []string{"key"} }, wrong},
		{"a job has failed", func(e *evidence) { e.bills.failed = []failedJob{{Kind: "fee", State: "discarded"}} }, wrong},
		{"a step is of no message", func(e *evidence) {
			e.steps[slices.IndexFunc(e.steps, func(s step) bool { return s.Event == billed })].MessageID = "another"
		}, wrong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := p.evidence()
			tt.do(&e)
			if j := judge(p.ledger, e); tt.want(j.charges) <= 0 {
				t.Errorf("judge did not detect it: %+v: %q", j.charges, j.messages)
			}
		})
	}
}
