package demo

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pawl-go/pawl/examples/payments/internal/expect"
	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// A Report is the result of a run.
type Report struct {
	// The records. Each is counted once, by its final fate in the database.
	Produced int
	Fates    map[expect.Kind]int
	Reasons  map[expect.Fate]int

	// The money, by currency: in the accepted records, and in the rows.
	Accepted, Rows map[string]Money
	Fees           map[string]int64 // in the rows, in 1/10000 of the smallest unit
	Interest       map[string]int64 // that colleagues have added to accounts

	Writes      int            // that colleagues have made
	Redelivered int            // records that the killed worker had settled and not committed
	Replayed    map[string]int // verdicts of the replay

	// What must be zero. Mismatches counts every difference, including those above it.
	AppliedTwice  int
	MoneyLost     int // currencies that do not add up
	WritesLost    int // by colleagues
	MovedByReplay int
	Mismatches    int
	Problems      []string

	struck []int // by index in traffic.Faults
}

// Money is what has happened to the money of one currency.
type Money struct {
	Authorized, Captured, Refunded, ChargedBack int64

	Accounts int64 // paid in, or in the accounts without the interest
}

// plus returns the sum with the amount of an accepted message.
func (sum Money) plus(m traffic.Message) Money {
	switch m.Type {
	case traffic.Authorized:
		sum.Authorized += m.Amount
	case traffic.Captured:
		sum.Captured += m.Amount
	case traffic.Refunded:
		sum.Refunded += m.Amount
	case traffic.ChargedBack:
		sum.ChargedBack += m.Amount
	case traffic.Opened, traffic.PaidIn:
		sum.Accounts += m.Amount
	}
	return sum
}

func newReport(t traffic.Traffic) *Report {
	return &Report{
		Fates: make(map[expect.Kind]int), Reasons: make(map[expect.Fate]int), Replayed: make(map[string]int),
		Accepted: make(map[string]Money), Rows: make(map[string]Money), Fees: make(map[string]int64), Interest: make(map[string]int64),
		struck: t.Struck,
	}
}

// ErrMismatch means that the database differs from what it must be.
var ErrMismatch = errors.New("the accounts do not match")

// verdict returns nil if everything is accounted for.
func (r *Report) verdict() error {
	if r.Mismatches == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d records lost, %d messages applied twice, %d currencies that do not add up, %d colleagues' writes lost, "+
		"%d rows changed by the replay, %d differences in total",
		ErrMismatch, r.Fates[expect.Lost], r.AppliedTwice, r.MoneyLost, r.WritesLost, r.MovedByReplay, r.Mismatches)
}

// print writes the report as tables.
func (r *Report) print(out io.Writer, took time.Duration) error {
	t := &table{}
	r.faults(t)
	r.records(t)
	r.money(t)
	r.checks(t)
	if r.Mismatches == 0 {
		fmt.Fprintf(t, "\nAll %s records, all %s writes of colleagues and every cent are accounted for (%.1f s).\n",
			thousands(r.Produced), thousands(r.Writes), took.Seconds())
	}
	_, err := out.Write(t.Bytes())
	return err
}

func (r *Report) faults(t *table) {
	t.title("Faults", "payments")
	for i, f := range traffic.Faults {
		fmt.Fprintf(t, "  %-38s%9s   %s\n", f.Name, thousands(r.struck[i]), f.Ends)
	}
}

func (r *Report) records(t *table) {
	t.title("Records", "database", "replay")
	for _, line := range []struct {
		kind     expect.Kind
		verdicts []string
	}{
		{expect.Applied, []string{"applied"}},
		{expect.Duplicate, []string{"duplicate"}},
		{expect.Parked, []string{"early"}},
		{expect.DeadLettered, []string{"rejected", "diverged"}},
	} {
		replayed := 0
		for _, verdict := range line.verdicts {
			replayed += r.Replayed[verdict]
		}
		t.row("  "+string(line.kind), thousands(r.Fates[line.kind]), thousands(replayed))
		for _, fate := range r.reasonsOf(line.kind) {
			t.row("    "+fate.Reason, thousands(r.Reasons[fate]))
		}
	}
}

// reasonsOf returns the reasons of a kind, the most frequent first.
func (r *Report) reasonsOf(kind expect.Kind) (fates []expect.Fate) {
	for fate := range r.Reasons {
		if fate.Kind == kind {
			fates = append(fates, fate)
		}
	}
	slices.SortFunc(fates, func(a, b expect.Fate) int {
		return cmp.Or(cmp.Compare(r.Reasons[b], r.Reasons[a]), strings.Compare(a.Reason, b.Reason))
	})
	return fates
}

func (r *Report) money(t *table) {
	currencies := slices.Sorted(maps.Keys(mergeKeys(r.Accepted, r.Rows)))
	t.title("Payments", "authorized", "captured", "refunded", "charged back", "fees")
	for _, c := range currencies {
		in, out := r.Accepted[c], r.Rows[c]
		t.row("  "+c+", accepted records", amount(c, in.Authorized), amount(c, in.Captured), amount(c, in.Refunded), amount(c, in.ChargedBack))
		t.row("  "+c+", rows", amount(c, out.Authorized), amount(c, out.Captured), amount(c, out.Refunded), amount(c, out.ChargedBack), fees(c, r.Fees[c]))
	}
	t.title("Accounts", "paid in", "+ interest", "= balances")
	for _, c := range currencies {
		t.row("  "+c, amount(c, r.Accepted[c].Accounts), amount(c, r.Interest[c]), amount(c, r.Rows[c].Accounts+r.Interest[c]))
	}
}

func (r *Report) checks(t *table) {
	t.title("Check", "wrong")
	t.row("  records lost", thousands(r.Fates[expect.Lost]))
	t.row("  messages applied twice", thousands(r.AppliedTwice))
	t.row("  currencies that do not add up", thousands(r.MoneyLost))
	t.row("  colleagues' writes lost", thousands(r.WritesLost))
	t.row("  rows changed by the replay", thousands(r.MovedByReplay))
	t.row("  all differences from the model", thousands(r.Mismatches))
	for _, problem := range r.Problems {
		fmt.Fprintln(t, "  -", problem)
	}
	if more := r.Mismatches - len(r.Problems); more > 0 {
		fmt.Fprintf(t, "  - and %s more\n", thousands(more))
	}
}

// A table is titles with rows below them: a name, then numbers.
type table struct{ bytes.Buffer }

func (t *table) title(name string, columns ...string) {
	fmt.Fprintln(t)
	t.row(name, columns...)
}

func (t *table) row(name string, cells ...string) {
	fmt.Fprintf(t, "%-33s", name)
	for _, cell := range cells {
		fmt.Fprintf(t, "%16s", cell)
	}
	fmt.Fprintln(t)
}
