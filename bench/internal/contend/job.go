package contend

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// A Job is what a contender is told: all of it is in the surroundings that the
// parent has made.
type Job struct {
	Contender   string
	Brokers     []string
	DatabaseURL string
	Topic       string
	Group       string
	Machine     string // of package traffic
	BankLog     string
	Records     int           // after so many the contender stops
	Box         time.Duration // and after this time; 0: never
	Warmup      time.Duration // records that were due in this time are not counted in Latency
	Recording   string        // the folder of the recorded statements
	Profile     string        // the file for a profile of the CPU; empty: none
}

// A Result is what a contender tells in the end.
type Result struct {
	Records   int            // that it settled
	Seconds   float64        // which it took
	RSSMiB    float64        // its largest resident set
	CPU       float64        // seconds of its own, user and system
	Verdicts  map[string]int `json:",omitempty"` // pawl's
	Steps     Steps          // pawl's
	Latencies []float64      `json:",omitempty"` // milliseconds, of records that say when they were due
}

// Steps are the seconds that the steps of a worker took; decode and apply overlap.
// What is left of the time, it waited for records.
type Steps struct{ Decode, Apply float64 }

// Rate returns records a second.
func (r Result) Rate() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Records) / r.Seconds
}

// Names of the contenders.
const (
	Pawl         = "pawl"
	Limit        = "limit"
	LimitMinimal = "limit-minimal"
	HandWritten  = "hand-written-1"
	HandSharded  = "hand-written-16"
	Watermill    = "watermill"
	ConsumeOnly  = "consume-only"

	record = "record" // not a contender: it records what Limit plays
)

// All are the contenders, in the order in which they are shown.
var All = []string{Limit, LimitMinimal, Pawl, HandWritten, HandSharded, Watermill, ConsumeOnly}

// Record is the job that records the statements of a worker for Limit.
func (j Job) Record() Job {
	j.Contender = record
	return j
}

// shards is the number of goroutines of HandSharded.
const shards = 16

// Run does a job in this process. ready is called when the clock starts.
func Run(ctx context.Context, job Job, ready func()) (Result, error) {
	machine, err := traffic.Machine(job.Machine, job.BankLog)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newMeter(job, ready, cancel)
	if err := run(ctx, job, machine, m); err != nil {
		return Result{}, fmt.Errorf("%s: %w", job.Contender, err)
	}
	return m.result()
}

func run(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	switch job.Contender {
	case Pawl:
		return runPawl(ctx, job, machine, m)
	case record:
		return recordPawl(ctx, job, machine, m)
	case Limit:
		return runLimit(ctx, job, m)
	case LimitMinimal:
		return runMinimal(ctx, job, machine, m)
	case HandWritten:
		return runHandWritten(ctx, job, machine, m, 1)
	case HandSharded:
		return runHandWritten(ctx, job, machine, m, shards)
	case Watermill:
		return runWatermill(ctx, job, machine, m)
	case ConsumeOnly:
		return consumeOnly(ctx, job, m)
	}
	return fmt.Errorf("there is no contender %q", job.Contender)
}
