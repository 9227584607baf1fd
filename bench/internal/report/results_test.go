package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var contenders = []string{"limit", "pawl", "hand-written-1", "watermill"}

// measured returns the results of three rounds.
func measured() *Results {
	r := NewResults()
	r.Rounds = 3
	for round := range 3 {
		x := float64(round - 1)
		r.AddRate("new-orders", "limit", 100_000+x)
		r.AddRate("new-orders", "pawl", 80_000+1000*x)
		r.AddRate("new-orders", "watermill", 4000-x)
		r.AddUse("new-orders", "pawl", 120+x, 10+x)
		r.AddUse("memory", "pawl", 200+x, 40)
		r.AddLatency("latency", "pawl", 2000, []float64{1, 2, 3 + x})
		r.AddLatency("latency", "hand-written-1", 200, []float64{2, 4, 6})
		for contender, ms := range map[string]float64{"pawl": 5, "without-gateway": 4, "pawl-transaction": 3, "one-transaction": 2} {
			r.AddLatency("gateway-alone", contender, 300, []float64{ms + x})
		}
		r.AddGrowth(100, "pawl", 5000)
		r.AddGrowth(2000, "pawl", 4000+x)
		r.AddGrowth(2000, "hand-written-batch", 2000)
	}
	return r
}

func TestSummary(t *testing.T) {
	line, err := measured().Summary().JSON()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(line), "\n") {
		t.Errorf("the summary is not one line: %s", line)
	}
	var got Summary
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	want := Summary{
		Medians: map[string]map[string]float64{
			"new-orders":  {"limit": 100_000, "pawl": 80_000, "watermill": 4000},
			"latency":     {"pawl": 3, "hand-written-1": 6},
			"growth-100":  {"pawl": 5000},
			"growth-2000": {"pawl": 4000, "hand-written-batch": 2000},
			"memory":      {"pawl": 201},

			"gateway-alone": {"one-transaction": 2, "pawl": 5, "pawl-transaction": 3, "without-gateway": 4},
		},
		Ratios: map[string]map[string]float64{
			"new-orders":  {"limit": 0.8, "watermill": 20},
			"latency":     {"hand-written-1": 0.5},
			"growth":      {"largest-to-smallest": 0.8},
			"growth-2000": {"hand-written-batch": 2},

			"gateway-alone": {
				"one-transaction": 2.5, "pawl-transaction": 1.667, "without-gateway": 1.25,
				"pawl-added-to-one-transaction": 0.5, "pawl-transaction-added-to-one-transaction": 0.5,
			},
		},
		Paired: map[string]map[string]float64{
			"new-orders":  {"limit": 0.8, "watermill": 20},
			"growth-2000": {"hand-written-batch": 2},
		},
		Latency: map[string]Latency{
			"pawl":           {P50: 2, P99: 3, P999: 3, Rate: 2000},
			"hand-written-1": {P50: 4, P99: 6, P999: 6, Rate: 200},
		},
		HTTP: map[string]Latency{
			"one-transaction":  {P50: 2, P99: 2, P999: 2, Rate: 300},
			"pawl":             {P50: 5, P99: 5, P999: 5, Rate: 300},
			"pawl-transaction": {P50: 3, P99: 3, P999: 3, Rate: 300},
			"without-gateway":  {P50: 4, P99: 4, P999: 4, Rate: 300},
		},
		Growth: map[string]float64{"100": 5000, "2000": 4000},
		RSS:    map[string]map[string]float64{"new-orders": {"pawl": 121}, "memory": {"pawl": 201}},
		CPU:    map[string]map[string]float64{"new-orders": {"pawl": 10}, "memory": {"pawl": 40}},
		Rounds: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want, +got):\n%s", diff)
	}
}

func TestSummaryWithoutPawl(t *testing.T) {
	r := NewResults()
	r.AddRate("new-orders", "watermill", 4000)
	if s := r.Summary(); len(s.Ratios) != 0 {
		t.Errorf("ratios without pawl: %v", s.Ratios)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	r := measured()
	r.Skipped["bank-log"] = "no event log"
	if err := r.Table(&out, contenders); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"100,000", "0.8x", "20x", "Medians of 3 rounds", "SKIPPED: bank-log: no event log", "201 MiB", "pawl-transaction adds 0.50 of"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not contain %q:\n%s", want, out.String())
		}
	}
}

func TestChart(t *testing.T) {
	var out strings.Builder
	r := measured()
	r.AddRate("a<b", "pawl", 0)
	if err := r.Chart(&out, contenders); err != nil {
		t.Fatal(err)
	}
	bars := 0
	for decoder := xml.NewDecoder(strings.NewReader(out.String())); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, out.String())
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 6 {
		t.Errorf("the chart has %d bars, want 6:\n%s", bars, out.String())
	}
	if !strings.Contains(out.String(), "p50 4.0 ms, p99 6.0 ms, p99.9 6.0 ms at 200 records/s") {
		t.Errorf("the chart does not show the latency of the hand-written loop:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "prefers-color-scheme: dark") {
		t.Error("the chart has no colors for dark pages")
	}
}

func TestThousands(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.4: "1,234,567", 100_000: "100,000"} {
		if got := thousands(x); got != want {
			t.Errorf("thousands(%v) = %s, want %s", x, got, want)
		}
	}
}
