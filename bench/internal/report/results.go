package report

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Results are the measurements of a run.
type Results struct {
	order   []string // of workloads, in the order measured
	rates   map[string]map[string][]float64
	rss     map[string]map[string]float64
	cpu     map[string]map[string][]float64
	latency map[string]map[string]latencies
	growth  map[int][]float64

	Quick   bool
	Rounds  int
	Skipped map[string]string // reason by workload
}

type latencies struct {
	rate           int
	p50, p99, p999 []float64
}

// NewResults returns empty results.
func NewResults() *Results {
	return &Results{
		rates: make(map[string]map[string][]float64), rss: make(map[string]map[string]float64),
		cpu:     make(map[string]map[string][]float64),
		latency: make(map[string]map[string]latencies), growth: make(map[int][]float64), Skipped: make(map[string]string),
	}
}

// Names that are not contenders or workloads.
const (
	pawl              = "pawl"
	latencyName       = "latency"
	latencyLoneName   = "latency-lone"
	latencyOutboxName = "latency-outbox"
	latencyHTTPName   = "gateway-alone"
	growthPrefix      = "growth-"
	memoryName        = "memory"
)

func add[V any](m map[string]map[string]V, workload, contender string, update func(V) V) {
	if m[workload] == nil {
		m[workload] = make(map[string]V)
	}
	m[workload][contender] = update(m[workload][contender])
}

// AddRate adds one round's records per second.
func (r *Results) AddRate(workload, contender string, rate float64) {
	if !slices.Contains(r.order, workload) {
		r.order = append(r.order, workload)
	}
	add(r.rates, workload, contender, func(have []float64) []float64 { return append(have, rate) })
}

// AddUse adds one round's peak memory in MiB and CPU time per record in
// microseconds.
func (r *Results) AddUse(workload, contender string, rssMiB, cpuMicros float64) {
	add(r.rss, workload, contender, func(have float64) float64 { return max(have, rssMiB) })
	add(r.cpu, workload, contender, func(have []float64) []float64 { return append(have, cpuMicros) })
}

// AddLatency adds one round's latencies in milliseconds, at a rate. The workload is one of
// those that measure latency.
func (r *Results) AddLatency(workload, contender string, rate int, ms []float64) {
	add(r.latency, workload, contender, func(l latencies) latencies {
		l.rate = rate
		l.p50 = append(l.p50, Percentile(ms, 0.50))
		l.p99 = append(l.p99, Percentile(ms, 0.99))
		l.p999 = append(l.p999, Percentile(ms, 0.999))
		return l
	})
}

// AddGrowth adds one round's records per second on tables with this many
// entities.
func (r *Results) AddGrowth(entities int, contender string, rate float64) {
	if contender == pawl {
		r.growth[entities] = append(r.growth[entities], rate)
	}
	r.AddRate(growthPrefix+strconv.Itoa(entities), contender, rate)
}

// A Summary is the last line of the output.
type Summary struct {
	Medians map[string]map[string]float64 `json:"medians"`
	Ratios  map[string]map[string]float64 `json:"ratios"`
	Paired  map[string]map[string]float64 `json:"paired_ratios"`
	Latency map[string]Latency            `json:"latency,omitempty"`
	Lone    map[string]Latency            `json:"latency_lone,omitempty"`
	Outbox  map[string]Latency            `json:"latency_outbox,omitempty"`
	HTTP    map[string]Latency            `json:"latency_gateway,omitempty"`
	Growth  map[string]float64            `json:"growth,omitempty"`
	RSS     map[string]map[string]float64 `json:"rss_mib"`
	CPU     map[string]map[string]float64 `json:"cpu_us_per_record"`
	Rounds  int                           `json:"rounds"`
	Quick   bool                          `json:"quick"`
	Skipped map[string]string             `json:"skipped,omitempty"`
}

// Latency is in milliseconds; Rate is in records per second.
type Latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Rate int     `json:"rate"`
}

// Summary returns the medians, and the ratios of pawl's medians to the others'.
func (r *Results) Summary() Summary {
	s := Summary{
		Medians: make(map[string]map[string]float64), Ratios: make(map[string]map[string]float64),
		Paired: make(map[string]map[string]float64), RSS: r.roundedRSS(), CPU: make(map[string]map[string]float64),
		Rounds: r.Rounds, Quick: r.Quick, Skipped: r.Skipped,
	}
	for workload, rates := range r.rates {
		s.Medians[workload] = medians(rates)
	}
	for workload, use := range r.cpu {
		s.CPU[workload] = medians(use)
	}
	r.summarizeLatency(&s)
	if peak := r.peak(); peak > 0 {
		s.Medians[memoryName] = map[string]float64{pawl: peak}
	}
	for workload, all := range s.Medians {
		for contender, median := range all {
			if ours := all[pawl]; contender != pawl && ours > 0 && median > 0 {
				add(s.Ratios, workload, contender, func(float64) float64 { return round(ours / median) })
			}
		}
	}
	r.pair(&s)
	s.summarizeAdded()
	r.summarizeGrowth(&s)
	return s
}

// pair adds the medians of the per-round ratios. They are not affected by a
// machine that is slow for some rounds.
func (r *Results) pair(s *Summary) {
	for workload, all := range r.rates {
		ours := all[pawl]
		for contender, theirs := range all {
			var ratios []float64
			for i := range min(len(ours), len(theirs)) {
				ratios = append(ratios, ours[i]/theirs[i])
			}
			if contender != pawl && len(ratios) > 0 {
				add(s.Paired, workload, contender, func(float64) float64 { return round(Median(ratios)) })
			}
		}
	}
}

func medians(all map[string][]float64) map[string]float64 {
	medians := make(map[string]float64, len(all))
	for name, values := range all {
		medians[name] = round(Median(values))
	}
	return medians
}

// summarizeLatency adds the 99th percentile to the medians.
func (r *Results) summarizeLatency(s *Summary) {
	for workload, all := range r.latency {
		one := make(map[string]Latency, len(all))
		s.Medians[workload] = make(map[string]float64, len(all))
		for contender, l := range all {
			one[contender] = Latency{round(Median(l.p50)), round(Median(l.p99)), round(Median(l.p999)), l.rate}
			s.Medians[workload][contender] = one[contender].P99
		}
		switch workload {
		case latencyLoneName:
			s.Lone = one
		case latencyOutboxName:
			s.Outbox = one
		case latencyHTTPName:
			s.HTTP = one
		default:
			s.Latency = one
		}
	}
}

// summarizeAdded adds what a gateway adds to the 99th percentile of a lone request, as a
// multiple of that of a request with one transaction.
func (s Summary) summarizeAdded() {
	transaction := s.HTTP["one-transaction"].P99
	for contender, without := range map[string]string{pawl: "without-gateway", "pawl-transaction": "one-transaction"} {
		with, bare := s.HTTP[contender].P99, s.HTTP[without].P99
		if with > 0 && bare > 0 && transaction > 0 {
			add(s.Ratios, latencyHTTPName, contender+"-added-to-one-transaction", func(float64) float64 { return round((with - bare) / transaction) })
		}
	}
}

// summarizeGrowth adds the ratio of the rate on the largest tables to the rate
// on the smallest.
func (r *Results) summarizeGrowth(s *Summary) {
	if len(r.growth) == 0 {
		return
	}
	sizes := slices.Sorted(maps.Keys(r.growth))
	s.Growth = make(map[string]float64)
	for _, n := range sizes {
		s.Growth[strconv.Itoa(n)] = round(Median(r.growth[n]))
	}
	smallest, largest := Median(r.growth[sizes[0]]), Median(r.growth[sizes[len(sizes)-1]])
	if smallest > 0 {
		s.Ratios["growth"] = map[string]float64{"largest-to-smallest": round(largest / smallest)}
	}
}

// peak returns the peak memory of pawl over all workloads.
func (r *Results) peak() (peak float64) {
	for _, all := range r.rss {
		peak = max(peak, all[pawl])
	}
	return round(peak)
}

func (r *Results) roundedRSS() map[string]map[string]float64 {
	rounded := make(map[string]map[string]float64)
	for workload, all := range r.rss {
		for contender, mib := range all {
			add(rounded, workload, contender, func(float64) float64 { return round(mib) })
		}
	}
	return rounded
}

// round rounds to four digits, which is the precision of the measurements.
func round(x float64) float64 {
	short, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	if err != nil {
		return x
	}
	return short
}

// JSON returns the summary on one line.
func (s Summary) JSON() ([]byte, error) { return json.Marshal(s) }
