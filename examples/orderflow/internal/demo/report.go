package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pawl-go/pawl/examples/orderflow/internal/provider"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// A Report is the result of a run.
type Report struct {
	OK bool `json:"ok"`

	// The records. Each is counted once, by its final fate in the database.
	Produced     int `json:"produced"`
	Applied      int `json:"applied"`
	Duplicate    int `json:"duplicate"`
	Parked       int `json:"parked"`
	DeadLettered int `json:"dead_lettered"`
	Lost         int `json:"lost"`

	// What must be zero. Mismatches counts every difference from the model,
	// including the two counts above it.
	AppliedTwice  int      `json:"applied_twice"`
	MovedByReplay int      `json:"moved_by_replay"`
	Mismatches    int      `json:"mismatches"`
	Problems      []string `json:"problems,omitempty"`

	// What the orders have caused. See also Money and Shipments.
	Expired      int `json:"expired"`
	ExpiredEarly int `json:"expired_early"` // must be zero
	NotSettled   int `json:"not_settled"`   // must be zero

	Money     Money           `json:"money"`
	Provider  provider.Ledger `json:"-"`
	Requests  int             `json:"provider_requests"`
	Answers   map[string]int  `json:"provider_faults"`
	Shipments Shipments       `json:"shipments"`

	Orders    int            `json:"orders"`
	Seed      uint64         `json:"seed"`
	ByState   map[string]int `json:"by_state"`
	ParkedFor map[string]int `json:"parked_by_reason"`
	DeadFor   map[string]int `json:"dead_lettered_by_reason"`
	Faults    map[string]int `json:"faults"`

	// Verdicts come from the workers' hooks. The killed worker's are lost.
	Verdicts     Verdicts `json:"verdicts"`
	KilledWorker Killed   `json:"killed_worker"`

	// Seconds is the duration of the whole demo, ConsumeSeconds, SettleSeconds and
	// ReplaySeconds those of its acts. Throughput is worker A's, in records per
	// second of the time in which it had work. ReplayThroughput is that of both
	// workers of the replay, over its whole duration.
	Seconds          float64 `json:"seconds"`
	ConsumeSeconds   float64 `json:"consume_seconds"`
	SettleSeconds    float64 `json:"settle_seconds"`
	ReplaySeconds    float64 `json:"replay_seconds"`
	Throughput       float64 `json:"throughput"`
	ReplayThroughput float64 `json:"replay_throughput"`

	faults []int // by index in traffic.Faults
}

// Money is what the provider has done with the customers' money, in numbers of charges.
type Money struct {
	Captured int `json:"captured"`
	Declined int `json:"declined"`
	Refunded int `json:"refunded"`

	// What must be zero, in numbers of orders.
	ChargedTwice  int `json:"charged_twice"`
	RefundedTwice int `json:"refunded_twice"`
	KeptUnpaid    int `json:"kept_unpaid"`   // the shop has money for an order that is not paid
	NeverCharged  int `json:"never_charged"` // an order is paid, but the shop has no money
}

// Shipments is what was announced.
type Shipments struct {
	Announced int `json:"announced"` // orders
	Repeated  int `json:"repeated"`  // records with the ID of an earlier one
	Wrong     int `json:"wrong"`     // must be zero
}

// Verdicts are counted by run.
type Verdicts struct {
	Survivor map[string]int `json:"worker_a"`
	Replay   map[string]int `json:"replay"`
}

// Killed describes the worker that was killed.
type Killed struct {
	PID         int     `json:"pid"`
	Partitions  []int32 `json:"partitions"`
	After       int     `json:"after_records"`         // number of records produced before the kill
	Uncommitted int     `json:"uncommitted"`           // records left in its partitions
	Redelivered int     `json:"settled_not_committed"` // number of those that were already settled in the database
	Calls       int     `json:"calls"`                 // calls to the provider that it was making
}

func newReport(s *stage) *Report {
	r := &Report{
		Orders: s.cfg.Orders, Seed: s.cfg.Seed, faults: s.traffic.Struck,
		ByState: make(map[string]int), ParkedFor: make(map[string]int),
		DeadFor: make(map[string]int), Faults: make(map[string]int),
	}
	for i, f := range traffic.Faults {
		r.Faults[f.Name] = s.traffic.Struck[i]
	}
	return r
}

func (r *Report) firstRun(t *tally, took time.Duration) {
	r.Verdicts.Survivor = t.verdicts
	r.ConsumeSeconds, r.Throughput = seconds(took), math.Round(t.perSecond())
}

func (r *Report) replayed(t *tally, took time.Duration) {
	r.Verdicts.Replay = t.verdicts
	r.ReplaySeconds, r.ReplayThroughput = seconds(took), math.Round(float64(t.records)/took.Seconds())
}

// ErrMismatch means that the database, the provider or the shipments do not match the
// model.
var ErrMismatch = errors.New("something does not match the produced records")

// verdict returns nil if every record is accounted for.
func (r *Report) verdict() error {
	if r.Mismatches == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d lost, %d applied twice, %d rows changed by the replay, %d problems in total",
		ErrMismatch, r.Lost, r.AppliedTwice, r.MovedByReplay, r.Mismatches)
}

// print writes the report, as tables or as one line of JSON.
func (r *Report) print(cfg Config) error {
	r.OK = r.Mismatches == 0
	r.Requests, r.Answers = r.Provider.Requests, r.Provider.Faults
	if cfg.JSON {
		return json.NewEncoder(cfg.Stdout).Encode(r)
	}
	return r.table(cfg.Stdout)
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
