package report

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Dimensions of the chart, in pixels.
const (
	chartWidth = 760
	chartLeft  = 150 // left end of the bars
	chartRight = 650 // right end of the axis
	barHeight  = 16
	barStep    = 22
	titleStep  = 34
	chartTop   = 44
)

// The axis is logarithmic, from 100 to 10 million records per second.
const (
	axisFrom = 2
	axisTo   = 7
)

const chartStyle = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 13px }
  .small { font-size: 11px; fill: #57606a }
  .bar { fill: #8c959f }
  .pawl { fill: #0969da }
  .grid { stroke: #d0d7de }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9198a1 }
    .bar { fill: #656c76 }
    .pawl { fill: #4493f8 }
    .grid { stroke: #3d444d }
  }
`

// Chart draws the medians as SVG: one bar per contender on a logarithmic axis.
// It has no background, and colors for light and dark pages.
func (r *Results) Chart(w io.Writer, contenders []string) error {
	var body strings.Builder
	y := chartTop
	for _, workload := range r.order {
		y += titleStep - barStep
		fmt.Fprintf(&body, "  <text class=\"title\" x=\"8\" y=\"%d\">%s</text>\n", y+12, html.EscapeString(workload))
		y += barStep
		for _, contender := range shown(contenders, r.rates[workload]) {
			bar(&body, y, contender, Median(r.rates[workload][contender]))
			y += barStep
		}
	}
	axisEnd := y
	y = r.latencyText(&body, y, contenders)
	height := y + 16
	var chart strings.Builder
	fmt.Fprintf(&chart, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&chart, "  <title>Records per second, by workload and contender</title>\n  <style>%s  </style>\n", chartStyle)
	fmt.Fprintf(&chart, "  <text class=\"small\" x=\"8\" y=\"16\">records/s, logarithmic; medians of %d rounds%s</text>\n",
		r.Rounds, quickly(r.Quick))
	for power := axisFrom; power <= axisTo; power++ {
		x := place(math.Pow10(power))
		fmt.Fprintf(&chart, "  <line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", x, x, chartTop-4, axisEnd)
		fmt.Fprintf(&chart, "  <text class=\"small\" text-anchor=\"middle\" x=\"%d\" y=\"%d\">%s</text>\n", x, chartTop-10, thousands(math.Pow10(power)))
	}
	chart.WriteString(body.String())
	chart.WriteString("</svg>\n")
	_, err := io.WriteString(w, chart.String())
	return err
}

// latencyText writes latencies as text, because they do not fit the axis.
func (r *Results) latencyText(w io.Writer, y int, contenders []string) int {
	all := r.Summary().Latency
	if len(all) == 0 {
		return y
	}
	y += titleStep - barStep
	fmt.Fprintf(w, "  <text class=\"title\" x=\"8\" y=\"%d\">latency from due to committed</text>\n", y+12)
	y += barStep
	for _, contender := range shown(contenders, all) {
		l := all[contender]
		fmt.Fprintf(w, "  <text text-anchor=\"end\" x=\"%d\" y=\"%d\">%s</text>\n", chartLeft-8, y+12, html.EscapeString(contender))
		fmt.Fprintf(w, "  <text x=\"%d\" y=\"%d\">p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms at %s records/s</text>\n",
			chartLeft, y+12, l.P50, l.P99, l.P999, thousands(float64(l.Rate)))
		y += barStep
	}
	return y
}

func quickly(quick bool) string {
	if quick {
		return "; quick run with little data"
	}
	return ""
}

func bar(w io.Writer, y int, contender string, rate float64) {
	class := "bar"
	if contender == pawl {
		class = "bar pawl"
	}
	end := place(rate)
	fmt.Fprintf(w, "  <text text-anchor=\"end\" x=\"%d\" y=\"%d\">%s</text>\n", chartLeft-8, y+12, html.EscapeString(contender))
	fmt.Fprintf(w, "  <rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"2\"/>\n", class, chartLeft, y, end-chartLeft, barHeight)
	fmt.Fprintf(w, "  <text x=\"%d\" y=\"%d\">%s</text>\n", end+6, y+12, thousands(rate))
}

// place returns the x coordinate of a rate.
func place(rate float64) int {
	share := (math.Log10(max(rate, 1)) - axisFrom) / (axisTo - axisFrom)
	return chartLeft + int(min(max(share, 0), 1)*(chartRight-chartLeft))
}
