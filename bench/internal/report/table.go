package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Table writes the medians as text, with the contenders in this order.
func (r *Results) Table(w io.Writer, contenders []string) error {
	s := r.Summary()
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	r.throughput(out, s, contenders)
	r.latencies(out, s, contenders)
	if err := out.Flush(); err != nil {
		return err
	}
	return r.remarks(w, s)
}

func (r *Results) throughput(out io.Writer, s Summary, contenders []string) {
	if len(r.order) == 0 {
		return
	}
	fmt.Fprintf(out, "workload\tcontender\trecords/s\tlowest\thighest\tpawl is\tpeak MiB\tCPU us/record\t\n")
	for _, workload := range r.order {
		for _, contender := range shown(contenders, r.rates[workload]) {
			rates := r.rates[workload][contender]
			ratio := ""
			if x, ok := s.Ratios[workload][contender]; ok {
				ratio = strconv.FormatFloat(x, 'g', 3, 64) + "x"
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%.0f\t%.1f\t\n", workload, contender, thousands(Median(rates)),
				thousands(slices.Min(rates)), thousands(slices.Max(rates)), ratio, s.RSS[workload][contender], s.CPU[workload][contender])
		}
	}
}

func (r *Results) latencies(out io.Writer, s Summary, contenders []string) {
	if len(s.Latency)+len(s.Lone)+len(s.Outbox)+len(s.HTTP) == 0 {
		return
	}
	fmt.Fprintf(out, "\t\t\t\t\t\t\t\t\nworkload\tcontender\tat records/s\tp50 ms\tp99 ms\tp99.9 ms\tpeak MiB\tCPU us/record\t\n")
	for _, w := range []struct {
		name string
		all  map[string]Latency
	}{{latencyName, s.Latency}, {latencyLoneName, s.Lone}, {latencyOutboxName, s.Outbox}, {latencyHTTPName, s.HTTP}} {
		for _, contender := range shown(contenders, w.all) {
			l := w.all[contender]
			fmt.Fprintf(out, "%s\t%s\t%d\t%.2f\t%.2f\t%.2f\t%.0f\t%.1f\t\n", w.name, contender, l.Rate, l.P50, l.P99, l.P999,
				s.RSS[w.name][contender], s.CPU[w.name][contender])
		}
	}
}

func (r *Results) remarks(w io.Writer, s Summary) error {
	var text strings.Builder
	fmt.Fprintf(&text, "\nMedians of %d rounds, with alternating contenders.", r.Rounds)
	if r.Quick {
		text.WriteString(" Quick run: little data, do not compare with full runs.")
	}
	text.WriteByte('\n')
	if x, ok := s.Ratios["growth"]["largest-to-smallest"]; ok {
		fmt.Fprintf(&text, "Growth: the rate on the largest tables is %.2f of the rate on the smallest.\n", x)
	}
	for _, with := range []struct{ redis, without string }{
		{"pawl-redis", "without-gateway"}, {"pawl-redis-transaction", "one-transaction"}, {"redis-alone", "without-gateway"},
	} {
		if ours, bare := s.HTTP[with.redis].P99, s.HTTP[with.without].P99; ours > 0 && bare > 0 {
			fmt.Fprintf(&text, "Gateway: %s adds %.2f ms to the p99 of a lone request.\n", with.redis, ours-bare)
		}
	}
	for _, contender := range []string{pawl, "pawl-transaction"} {
		if x, ok := s.Ratios[latencyHTTPName][contender+"-added-to-one-transaction"]; ok {
			fmt.Fprintf(&text, "Gateway: %s adds %.2f of a transaction's time to the p99 of a lone request.\n", contender, x)
		}
	}
	if peak := r.peak(); peak > 0 {
		fmt.Fprintf(&text, "Memory: the worker's peak resident set was %.0f MiB.\n", peak)
	}
	for _, workload := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(&text, "SKIPPED: %s: %s\n", workload, r.Skipped[workload])
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// shown returns the names that are keys of all, in order.
func shown[V any](names []string, all map[string]V) (shown []string) {
	for _, name := range names {
		if _, ok := all[name]; ok {
			shown = append(shown, name)
		}
	}
	return shown
}

// thousands formats a number with thousands separators.
func thousands(x float64) string {
	digits := strconv.Itoa(int(math.Round(x)))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
