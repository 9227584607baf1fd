package contend

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// A Job tells a contender what to do. The parent process has prepared
// everything it names.
type Job struct {
	Contender   string
	Brokers     []string
	DatabaseURL string
	Topic       string
	Out         string // the topic of the messages that steps send; empty if they send none
	Group       string
	Machine     string // a machine of package traffic
	BankLog     string
	Records     int           // the contender stops after this many records
	Timers      bool          // timers that are due make the steps, not records
	Callers     int           // if not 0, callers make this many changes at a time, without Kafka
	HTTP        string        // First or Repeated: callers send requests to an HTTP server; empty if there is none
	Redis       string        // the address of Redis; only for contenders in WithRedis
	Box         time.Duration // the contender stops after this time; 0 means no limit
	Warmup      time.Duration // records due in this time are not counted in Latency
	Recording   string        // directory of the recorded statements
	Profile     string        // file for a CPU profile; empty means none
}

// A Result is a contender's measurements.
type Result struct {
	Records   int            // number of records settled
	Seconds   float64        // time for them
	RSSMiB    float64        // peak resident set
	CPU       float64        // CPU seconds of the process, user and system
	Verdicts  map[string]int `json:",omitempty"` // only for pawl
	Steps     Steps          // only for pawl
	Latencies []float64      `json:",omitempty"` // milliseconds, for records that say when they were due, and for requests
}

// Steps are the seconds spent in a worker's steps; decode and apply overlap.
// The rest of the time the worker waited for records.
type Steps struct{ Decode, Apply float64 }

// Rate returns records per second.
func (r Result) Rate() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Records) / r.Seconds
}

// Names of the contenders.
const (
	Pawl         = "pawl"
	PawlSet      = "pawl-set"
	Limit        = "limit"
	LimitMinimal = "limit-minimal"
	HandWritten  = "hand-written-1"
	HandSharded  = "hand-written-16"
	HandBatch    = "hand-written-batch"
	Autocommit   = "autocommit" // a loop with one statement for each record
	Watermill    = "watermill"
	ConsumeOnly  = "consume-only"

	PawlOTel = "pawl-otel" // pawl with the metrics and traces of package otel

	PawlDryRun = "pawl-dry-run" // a dry run of package replay
	PawlVerify = "pawl-verify"  // a verification of package replay

	WithoutMessages = "without-messages" // a worker whose transitions send nothing
	HandOutbox      = "hand-written-outbox"
	WithoutTimers   = "without-timers"  // a worker whose transitions arm no timers
	WithoutMigrate  = "without-migrate" // a worker while nothing is migrated
	Records         = "records"         // a worker that gets records instead of timers

	PawlRow              = "pawl-row"               // a handler that reads the row for its response
	PawlTransaction      = "pawl-transaction"       // a gateway that gives handlers a transaction
	PawlRedis            = "pawl-redis"             // pawl with Redis in front of PostgreSQL
	PawlRedisTransaction = "pawl-redis-transaction" // pawl-transaction with Redis in front of PostgreSQL
	RedisAlone           = "redis-alone"            // a gateway with Redis alone
	BareSelect           = "bare-select"            // an HTTP server that reads responses by a key
	AnswerOnly           = "answer-only"            // an HTTP server that answers at once
	WithoutGateway       = "without-gateway"        // the handler of Pawl, without a gateway
	OneTransaction       = "one-transaction"        // a handler with a transaction, without a gateway

	record = "record" // not a contender: it records what Limit replays
)

// All lists the contenders in display order.
var All = []string{
	Limit, LimitMinimal, Pawl, PawlOTel, PawlDryRun, PawlVerify, PawlSet, PawlRow, PawlTransaction, PawlRedis, PawlRedisTransaction, RedisAlone, WithoutMessages, WithoutTimers, WithoutMigrate, WithoutGateway, Records,
	HandBatch, HandWritten, HandSharded, HandOutbox, Autocommit, OneTransaction, BareSelect, AnswerOnly, Watermill, ConsumeOnly,
}

// Ordinary lists the contenders of workloads without outputs whose columns the messages set.
var Ordinary = []string{Limit, LimitMinimal, Pawl, HandBatch, HandWritten, HandSharded, Watermill, ConsumeOnly}

// Record returns the job that records a worker's statements for Limit.
func (j Job) Record() Job {
	j.Contender = record
	return j
}

// shards is the number of goroutines of HandSharded.
const shards = 16

// Run runs a job in this process. It calls ready when the clock starts.
func Run(ctx context.Context, job Job, ready func()) (Result, error) {
	machine, err := job.machine()
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

func (j Job) machine() (*statemachine.Machine, error) {
	switch {
	case j.Contender == PawlSet:
		return traffic.WithoutFunctions(j.Machine)
	case j.Contender == Pawl && j.Out != "":
		return traffic.Announcing(j.Out)
	}
	return traffic.Machine(j.Machine, j.BankLog)
}

func run(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	if job.HTTP != "" {
		return runClients(ctx, job, machine, m)
	}
	if job.Callers > 0 {
		return runCallers(ctx, job, machine, m)
	}
	switch job.Contender {
	case Pawl, PawlOTel, PawlSet, WithoutMessages, WithoutTimers, WithoutMigrate, Records:
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
	case Autocommit:
		return runAutocommit(ctx, job, machine, m)
	case HandOutbox:
		return runHandWrittenOutbox(ctx, job, machine, m)
	case HandBatch:
		return runHandWrittenBatch(ctx, job, machine, m)
	case Watermill:
		return runWatermill(ctx, job, machine, m)
	case PawlDryRun, PawlVerify:
		return runReplay(ctx, job, machine, m)
	case ConsumeOnly:
		return consumeOnly(ctx, job, m)
	}
	return fmt.Errorf("unknown contender %q", job.Contender)
}
