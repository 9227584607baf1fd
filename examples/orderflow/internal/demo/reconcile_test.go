package demo

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/examples/orderflow/internal/expect"
	"github.com/pawl-go/pawl/examples/orderflow/internal/provider"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// ledger returns generated traffic, as if produced to one partition.
func ledger() (records []traffic.Sent) {
	made := traffic.Generate(traffic.Plan{Orders: 100, Seed: 1, Prefix: "p"})
	for i, r := range made.Records {
		records = append(records, traffic.Sent{Record: r, Place: traffic.Place{Offset: int64(i)}})
	}
	return records
}

// asExpected returns what a run finds if everything matches the model.
func asExpected(records []traffic.Sent) *found {
	f := &found{
		heard: hears(records), fates: make(map[traffic.Place][]expect.Fate), steps: make(map[message]int),
		shipments: make(map[string]string), provider: provider.Ledger{Requests: 150},
	}
	want := expect.Of(records, f.heard)
	f.orders, f.payments = maps.Clone(want.Orders), maps.Clone(want.Payments)
	for _, r := range records {
		fate := want.Fates[r.Place]
		if fate.Kind == expect.Applied {
			f.steps[message{r.Message.Order, r.MessageID()}]++
		}
		if fate.Kind != expect.Duplicate {
			f.fates[r.Place] = []expect.Fate{fate}
		}
	}
	for i, c := range want.Charges {
		charge := provider.Charge{
			ID: fmt.Sprint("ch_", i), Key: fmt.Sprint("key ", i), Order: c.Order,
			Amount: decimal.RequireFromString(c.Amount), Card: c.Card, Captured: c.Captured,
		}
		f.provider.Charges = append(f.provider.Charges, charge)
		if c.Refunded {
			f.provider.Refunds = append(f.provider.Refunds, provider.Refund{Charge: charge.ID, Amount: charge.Amount})
		}
	}
	for id, o := range f.orders {
		events := announcementsOf(o.State)
		for i, event := range events {
			f.announced = append(f.announced, announced{id: fmt.Sprint(id, "/", i), Order: id, Event: event})
		}
		if state := carried[len(events)]; state != "" {
			f.shipments[id] = state
		}
	}
	return f
}

// hears returns what the orders hear, if all records have arrived before.
func hears(records []traffic.Sent) map[string][]expect.Heard {
	heard := make(map[string][]expect.Heard)
	for more := true; more; {
		more = false
		got := expect.Of(records, heard)
		for id, o := range got.Orders {
			event := map[string]string{"pending": "payment.captured", "refunding": "payment.refunded", "unpaid": "order.expired"}[o.State]
			if o.State == "cancelling" {
				event = "payment.captured"
			}
			if event == "payment.captured" && provider.Declines(got.Payments[id].Card) {
				event = "payment.declined"
			}
			if event != "" {
				heard[id] = append(heard[id], expect.Heard{Event: event, Version: o.Version + 1})
				more = true
			}
		}
	}
	return heard
}

// firstOf returns the first record with this kind of fate.
func firstOf(records []traffic.Sent, kind expect.Kind) traffic.Sent {
	fates := expect.Of(records, hears(records)).Fates
	for _, r := range records {
		if fates[r.Place].Kind == kind {
			return r
		}
	}
	panic("no record is " + string(kind))
}

// inState returns an order in a state.
func inState(f *found, state string) string {
	for _, id := range slices.Sorted(maps.Keys(f.orders)) {
		if f.orders[id].State == state {
			return id
		}
	}
	panic("no order is " + state)
}

// setState changes the state of an order in the database.
func (f *found) setState(id, state string) {
	o := f.orders[id]
	o.State = state
	f.orders[id] = o
}

// chargeOf returns the order's charge that was captured.
func chargeOf(f *found, id string) *provider.Charge {
	for i := range f.provider.Charges {
		if c := &f.provider.Charges[i]; c.Order == id && c.Captured {
			return c
		}
	}
	panic("no charge for " + id)
}

func emptyReport() *Report {
	return newReport(&stage{traffic: traffic.Traffic{Struck: make([]int, len(traffic.Faults))}})
}

// reconciled returns the report on what a run has found, whose replay made no request.
func reconciled(records []traffic.Sent, f *found) *Report {
	r := emptyReport()
	r.reconcile(records, f)
	r.reconcileOutputs(f)
	r.silent(150, f)
	return r
}

func TestReconcileBalances(t *testing.T) {
	records := ledger()
	r := reconciled(records, asExpected(records))
	if err := r.verdict(); err != nil {
		t.Errorf("%v: %v", err, r.Problems)
	}
	if r.Applied+r.Duplicate+r.Parked+r.DeadLettered != len(records) || r.Produced != len(records) {
		t.Errorf("the fates do not add up: %+v", r)
	}
}

func TestReconcileNotices(t *testing.T) {
	records := ledger()
	for _, c := range []struct {
		name   string
		tamper func(*found)
		says   string
		wrong  func(*Report) bool
	}{
		{
			"a lost dead letter", func(f *found) { delete(f.fates, firstOf(records, expect.DeadLettered).Place) },
			"is lost", func(r *Report) bool { return r.Lost == 1 },
		},
		{
			"a lost parked record", func(f *found) { delete(f.fates, firstOf(records, expect.Parked).Place) },
			"is lost", func(r *Report) bool { return r.Lost == 1 },
		},
		{
			"a message applied twice", func(f *found) {
				r := firstOf(records, expect.Duplicate)
				f.steps[message{r.Message.Order, r.MessageID()}]++
				f.fates[r.Place] = []expect.Fate{{Kind: expect.Applied}}
			},
			"times", func(r *Report) bool { return r.AppliedTwice == 1 },
		},
		{
			"a record with two fates", func(f *found) {
				at := firstOf(records, expect.Parked).Place
				f.fates[at] = append(f.fates[at], expect.Fate{Kind: expect.DeadLettered, Reason: "illegal"})
			},
			"2 fates", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"a claimed payment counted as a duplicate", func(f *found) {
				r := records[0]
				for _, r = range records { // that of the first order
					if r.Message.Order == "p-000000" && r.Message.Event == traffic.Claimed {
						break
					}
				}
				delete(f.fates, r.Place)
				f.steps[message{r.Message.Order, r.MessageID()}] = 1
			},
			"is duplicate, want dead_lettered (unknown_event)", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"a wrong reason", func(f *found) {
				f.fates[firstOf(records, expect.DeadLettered).Place] = []expect.Fate{{Kind: expect.DeadLettered, Reason: "guard"}}
			},
			"(guard)", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"a record that was never produced", func(f *found) {
				f.fates[traffic.Place{Partition: 9}] = []expect.Fate{{Kind: expect.Applied}}
			},
			"was never produced", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"a deleted row", func(f *found) { delete(f.orders, inState(f, "shipped")) },
			"want", func(r *Report) bool { return r.Mismatches == 3 }, // it was charged and announced for nothing
		},
		{
			"a column that was not written", func(f *found) {
				key := firstOf(records, expect.Applied).Message.Order
				o := f.orders[key]
				o.Customer = ""
				f.orders[key] = o
			},
			"want", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"a payment that was not moved", func(f *found) {
				id := inState(f, "paid")
				p := f.payments[id]
				p.State = "charging"
				f.payments[id] = p
			},
			"the payment of order", func(r *Report) bool { return r.Mismatches == 1 },
		},
		{
			"an order charged twice", func(f *found) {
				c := *chargeOf(f, inState(f, "paid"))
				c.ID, c.Key = "ch_again", "another key"
				f.provider.Charges = append(f.provider.Charges, c)
			},
			"was charged 2 times", func(r *Report) bool { return r.Money.ChargedTwice == 1 },
		},
		{
			"an order charged twice, and refunded once", func(f *found) {
				c := *chargeOf(f, inState(f, "cancelled"))
				c.ID, c.Key = "ch_again", "another key"
				f.provider.Charges = append(f.provider.Charges, c)
			},
			"was charged 2 times", func(r *Report) bool { return r.Money.ChargedTwice == 1 },
		},
		{
			"an order that is paid, but was not charged", func(f *found) {
				id := inState(f, "delivered")
				f.provider.Charges = slices.DeleteFunc(f.provider.Charges, func(c provider.Charge) bool { return c.Order == id })
			},
			"does not have its money", func(r *Report) bool { return r.Money.NeverCharged == 1 },
		},
		{
			"a wrong amount", func(f *found) { chargeOf(f, inState(f, "paid")).Amount = decimal.NewFromInt(1) },
			"1 more than expected", func(r *Report) bool { return r.Mismatches == 2 },
		},
		{
			"a cancelled order that was never refunded", func(f *found) {
				id := chargeOf(f, inState(f, "cancelled")).ID
				f.provider.Refunds = slices.DeleteFunc(f.provider.Refunds, func(r provider.Refund) bool { return r.Charge == id })
			},
			"the shop has its money", func(r *Report) bool { return r.Money.KeptUnpaid == 1 },
		},
		{
			"an order refunded twice", func(f *found) { f.provider.Refunds = append(f.provider.Refunds, f.provider.Refunds[0]) },
			"was refunded 2 times", func(r *Report) bool { return r.Money.RefundedTwice == 1 },
		},
		{
			"an order that never expired", func(f *found) {
				id := inState(f, "expired")
				f.heard[id] = f.heard[id][:len(f.heard[id])-1]
				o := f.orders[id]
				o.State, o.Version = "unpaid", o.Version-1
				f.orders[id] = o
				for at := range f.fates { // what waits for it is still parked
					if r := records[at.Offset]; r.Message.Order == id && f.fates[at][0].Reason == "illegal" {
						f.fates[at] = []expect.Fate{{Kind: expect.Parked, Reason: "not_yet"}}
					}
				}
			},
			`is still "unpaid"`, func(r *Report) bool { return r.NotSettled == 1 && r.Mismatches == 1 },
		},
		{
			"an order that expired although it was paid", func(f *found) { f.setState(inState(f, "paid"), "expired") },
			"the shop has its money", func(r *Report) bool { return r.Money.KeptUnpaid == 1 },
		},
		{
			"an order that expired too early", func(f *found) { f.early = append(f.early, inState(f, "expired")) },
			"before its time", func(r *Report) bool { return r.ExpiredEarly == 1 },
		},
		{
			"an order that was shipped and not announced", func(f *found) {
				id := inState(f, "shipped")
				f.announced = slices.DeleteFunc(f.announced, func(a announced) bool { return a.Order == id })
			},
			"was never announced", func(r *Report) bool { return r.Shipments.Wrong == 1 },
		},
		{
			"an order that was announced twice, with two IDs", func(f *found) {
				f.announced = append(f.announced, announced{id: "another", Order: inState(f, "shipped"), Event: onItsWay})
			},
			"was announced as", func(r *Report) bool { return r.Shipments.Wrong == 1 },
		},
		{
			"an order that was announced although it was not shipped", func(f *found) {
				f.announced = append(f.announced, announced{id: "another", Order: inState(f, "paid"), Event: onItsWay})
			},
			"was announced as", func(r *Report) bool { return r.Shipments.Wrong == 1 },
		},
		{
			"announcements in the wrong order", func(f *found) {
				slices.Reverse(f.announced)
				id := inState(f, "delivered")
				keep := f.announced
				f.announced = nil
				for _, a := range keep { // only this order's stay reversed
					if a.Order != id {
						f.announced = slices.Insert(f.announced, 0, a)
					} else {
						f.announced = append(f.announced, a)
					}
				}
			},
			"was announced as", func(r *Report) bool { return r.Shipments.Wrong == 1 },
		},
		{
			"a shipment that the carrier does not know", func(f *found) { delete(f.shipments, inState(f, "shipped")) },
			"its shipment", func(r *Report) bool { return r.Shipments.Wrong == 1 },
		},
		{
			"an announcement that the carrier could not decode", func(f *found) { f.stray = 1 },
			"1 announcements were parked", func(r *Report) bool { return r.Shipments.Wrong == 1 },
		},
		{
			"a replay that calls the provider", func(f *found) { f.provider.Requests++ },
			"made 1 requests", func(r *Report) bool { return r.Mismatches == 1 },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := asExpected(records)
			c.tamper(f)
			r := reconciled(records, f)
			if err := r.verdict(); !errors.Is(err, ErrMismatch) {
				t.Errorf("verdict returned %v, want ErrMismatch", err)
			}
			if !c.wrong(r) || !strings.Contains(strings.Join(r.Problems, "\n"), c.says) {
				t.Errorf("the report does not show the problem: %v", r.Problems)
			}
		})
	}
}

// TestRepeatedAnnouncements checks that an announcement may be published twice, if it has the
// same ID.
func TestRepeatedAnnouncements(t *testing.T) {
	records := ledger()
	f := asExpected(records)
	f.announced = append(f.announced, f.announced[0])
	r := reconciled(records, f)
	if err := r.verdict(); err != nil || r.Shipments.Repeated != 1 {
		t.Errorf("%d repeats, want 1; %v: %v", r.Shipments.Repeated, err, r.Problems)
	}
}

func TestCompareSnapshots(t *testing.T) {
	before := snapshot{"orders 1": "a", "orders 2": "b", "orders 3": "c"}
	after := snapshot{"orders 1": "a", "orders 2": "x", "orders 4": "d"}
	r := emptyReport()
	r.compare(before, after)
	if r.MovedByReplay != 3 || !errors.Is(r.verdict(), ErrMismatch) {
		t.Errorf("%d rows changed, want 3; %v", r.MovedByReplay, r.Problems)
	}
	if r = emptyReport(); len(before.moved(before)) != 0 {
		t.Errorf("a snapshot differs from itself: %v", r.Problems)
	}
}

func TestManyProblems(t *testing.T) {
	r := emptyReport()
	for range maxProblems + 1500 {
		r.problem("trouble")
	}
	var out bytes.Buffer
	if err := r.table(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "and 1,500 more") || strings.Contains(out.String(), "accounted for") {
		t.Errorf("the table does not say how many problems it omits:\n%s", &out)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
