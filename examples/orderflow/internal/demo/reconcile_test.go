package demo

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/examples/orderflow/internal/expect"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// ledger returns generated traffic, as if produced to one partition.
func ledger() (records []traffic.Sent, orders []string) {
	made := traffic.Generate(traffic.Plan{Orders: 100, Seed: 1, Prefix: "p"})
	for i, r := range made.Records {
		records = append(records, traffic.Sent{Record: r, Place: traffic.Place{Offset: int64(i)}})
	}
	return records, made.Orders
}

// asExpected returns a database that matches the model.
func asExpected(records []traffic.Sent) *found {
	want := expect.Of(records)
	f := &found{orders: maps.Clone(want.Orders), fates: make(map[traffic.Place][]expect.Fate), steps: make(map[message]int)}
	for _, r := range records {
		fate := want.Fates[r.Place]
		if fate.Kind == expect.Applied {
			f.steps[message{r.Message.Order, r.MessageID()}]++
		}
		if fate.Kind != expect.Duplicate {
			f.fates[r.Place] = []expect.Fate{fate}
		}
	}
	return f
}

// firstOf returns the first record with this kind of fate.
func firstOf(records []traffic.Sent, kind expect.Kind) traffic.Sent {
	fates := expect.Of(records).Fates
	for _, r := range records {
		if fates[r.Place].Kind == kind {
			return r
		}
	}
	panic("no record is " + string(kind))
}

func emptyReport() *Report {
	return newReport(&stage{traffic: traffic.Traffic{Struck: make([]int, len(traffic.Faults))}})
}

func TestReconcileBalances(t *testing.T) {
	records, _ := ledger()
	r := emptyReport()
	r.reconcile(records, asExpected(records))
	if err := r.verdict(); err != nil {
		t.Errorf("%v: %v", err, r.Problems)
	}
	if r.Applied+r.Duplicate+r.Parked+r.DeadLettered != len(records) || r.Produced != len(records) {
		t.Errorf("the fates do not add up: %+v", r)
	}
}

func TestReconcileNotices(t *testing.T) {
	records, _ := ledger()
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
			"a payment counted as a duplicate", func(f *found) {
				r := records[0]
				for _, r = range records { // the late payment of the first order
					if r.Message.Order == "p-000000" && r.Message.Event == traffic.Captured {
						break
					}
				}
				delete(f.fates, r.Place)
				f.steps[message{r.Message.Order, r.MessageID()}] = 1
			},
			"is duplicate, want dead_lettered (illegal)", func(r *Report) bool { return r.Mismatches == 1 },
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
			"a deleted row", func(f *found) { delete(f.orders, firstOf(records, expect.Applied).Message.Order) },
			"want", func(r *Report) bool { return r.Mismatches == 1 },
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
	} {
		t.Run(c.name, func(t *testing.T) {
			f := asExpected(records)
			c.tamper(f)
			r := emptyReport()
			r.reconcile(records, f)
			if err := r.verdict(); !errors.Is(err, ErrMismatch) {
				t.Errorf("verdict returned %v, want ErrMismatch", err)
			}
			if !c.wrong(r) || !strings.Contains(strings.Join(r.Problems, "\n"), c.says) {
				t.Errorf("the report does not show the problem: %+v", r)
			}
		})
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
