package demo

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pawl-go/pawl/examples/orderflow/internal/provider"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// table writes the report as text.
func (r *Report) table(out io.Writer) error {
	t := &table{}
	r.records(t)
	r.orders(t)
	r.outputs(t)
	r.faultsStruck(t)
	r.reasons(t)
	r.speed(t)
	r.checks(t)
	_, err := out.Write(t.Bytes())
	return err
}

// A table is titles with rows below them: a name, then numbers or words.
type table struct{ bytes.Buffer }

func (t *table) title(name string, columns ...string) {
	fmt.Fprintln(t)
	t.row(name, columns...)
}

func (t *table) numbers(name string, numbers ...int) {
	cells := make([]string, len(numbers))
	for i, n := range numbers {
		cells[i] = thousands(n)
	}
	t.row("  "+name, cells...)
}

func (t *table) remark(name string, n int, format string, args ...any) {
	line := fmt.Sprintf("  %-32s%15s   "+format, append([]any{name, thousands(n)}, args...)...)
	fmt.Fprintln(t, strings.TrimRight(line, " "))
}

func (t *table) row(name string, cells ...string) {
	var line strings.Builder
	fmt.Fprintf(&line, "%-34s", name)
	for _, cell := range cells {
		fmt.Fprintf(&line, "%15s", cell)
	}
	fmt.Fprintln(t, strings.TrimRight(line.String(), " "))
}

func (r *Report) records(t *table) {
	t.title("Records", "database", "worker A", "replay")
	for _, line := range []struct {
		name, verdict string
		n             int
	}{
		{"applied", "applied", r.Applied},
		{"duplicate", "duplicate", r.Duplicate},
		{"parked", "early", r.Parked},
		{"dead letter", "rejected", r.DeadLettered},
	} {
		t.numbers(line.name, line.n, r.Verdicts.Survivor[line.verdict], r.Verdicts.Replay[line.verdict])
	}
	t.numbers("lost", r.Lost)
	t.numbers("all", r.Produced, total(r.Verdicts.Survivor), total(r.Verdicts.Replay))
	fmt.Fprintln(t, "  The first column is read from the database, the others count the workers' verdicts.")
	fmt.Fprintln(t, "  Worker B's are lost. A parked record may still be applied when its order moves.")
}

func (r *Report) orders(t *table) {
	t.title("Orders")
	for _, state := range largestFirst(r.ByState) {
		t.numbers(state, r.ByState[state])
	}
	t.numbers("no order: not placed, or rejected", r.Orders-total(r.ByState))
}

func (r *Report) outputs(t *table) {
	t.title("Payments at the provider", "charges")
	t.remark("captured", r.Money.Captured, "")
	t.remark("declined", r.Money.Declined, "some customers try another card")
	t.remark("refunded", r.Money.Refunded, "of those captured: their orders were cancelled meanwhile")
	t.title("Shipments on their topic", "orders")
	t.remark("announced", r.Shipments.Announced, "and %s records published a second time, with the same ID", thousands(r.Shipments.Repeated))
	t.title("Faults of the provider", "requests")
	for _, f := range provider.Faults {
		t.remark(f.Name, r.Provider.Faults[f.Name], "%s", f.Does)
	}
	t.remark("all requests", r.Provider.Requests, "")
}

func (r *Report) faultsStruck(t *table) {
	t.title("Faults of the traffic", "orders")
	for i, f := range traffic.Faults {
		t.remark(f.Name, r.faults[i], f.Ends)
	}
}

func (r *Report) reasons(t *table) {
	t.title("Reasons", "records")
	for _, reason := range largestFirst(r.DeadFor) {
		t.numbers("dead letter, "+reason, r.DeadFor[reason])
	}
	for _, reason := range largestFirst(r.ParkedFor) {
		t.numbers("parked, "+reason, r.ParkedFor[reason])
	}
}

func (r *Report) speed(t *table) {
	t.title("Speed", "records/s")
	t.remark("worker A", int(r.Throughput), "while it had work; the whole run took %.1f s, mostly waiting for B's session timeout", r.ConsumeSeconds)
	t.remark("replay", int(r.ReplayThroughput), "including joining the group; %.1f s", r.ReplaySeconds)
}

func (r *Report) checks(t *table) {
	t.title("Check")
	t.numbers("records lost", r.Lost)
	t.numbers("messages applied twice", r.AppliedTwice)
	t.numbers("rows changed by the replay", r.MovedByReplay)
	t.numbers("orders charged twice", r.Money.ChargedTwice)
	t.numbers("orders refunded twice", r.Money.RefundedTwice)
	t.numbers("orders paid, but never charged", r.Money.NeverCharged)
	t.numbers("orders not paid, but charged", r.Money.KeptUnpaid)
	t.numbers("orders not announced once", r.Shipments.Wrong)
	t.numbers("orders expired too early", r.ExpiredEarly)
	t.numbers("orders not settled", r.NotSettled)
	t.numbers("differences from the model", r.Mismatches)
	for _, problem := range r.Problems {
		fmt.Fprintln(t, "  -", problem)
	}
	if more := r.Mismatches - len(r.Problems); more > 0 {
		fmt.Fprintf(t, "  - and %s more\n", thousands(more))
	}
	if r.Mismatches == 0 {
		fmt.Fprintf(t, "\nAll %s records are accounted for, each exactly once. Each order that was paid was charged\n"+
			"once, each that was shipped was announced once, and each that was not paid has expired (%.1f s).\n",
			thousands(r.Produced), r.Seconds)
	}
}

func largestFirst(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
