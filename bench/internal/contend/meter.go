package contend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// A meter measures one contender and ends its run. It is safe for concurrent
// use.
type meter struct {
	job   Job
	stop  context.CancelFunc
	ready func()

	mu        sync.Mutex
	started   time.Time
	last      time.Time // when the last record was settled
	settled   int
	verdicts  map[string]int
	steps     Steps
	latencies []float64
	commits   map[string]time.Time // by step: when it was committed, or acknowledged if that came first
	warm      time.Time            // records due before this are not counted in latencies
}

func newMeter(job Job, ready func(), stop context.CancelFunc) *meter {
	return &meter{job: job, ready: ready, stop: stop, verdicts: make(map[string]int), commits: make(map[string]time.Time)}
}

// OnBrokerWrite is a kgo hook. It starts the clock with the first fetch.
func (m *meter) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == kmsg.Fetch.Int16() {
		m.start()
	}
}

// OnProduceRecordUnbuffered is a kgo hook. With messages, a record is settled once the
// message about its step is acknowledged.
func (m *meter) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	if err == nil && r.Topic == m.job.Out {
		m.acknowledged(string(r.Key)+"/"+header(r, traffic.TypeHeader), time.Now())
		m.settle(1)
	}
}

var (
	_ kgo.HookBrokerWrite             = (*meter)(nil)
	_ kgo.HookProduceRecordUnbuffered = (*meter)(nil)
)

// start starts the clock. Only the first call counts.
func (m *meter) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.started.IsZero() {
		return
	}
	m.started = time.Now()
	if m.job.Box > 0 {
		time.AfterFunc(m.job.Box, m.stop)
	}
	m.ready()
}

// settle counts n more settled records, and ends the run after the last.
func (m *meter) settle(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settled += n
	m.last = time.Now()
	if m.settled >= m.job.Records {
		m.stop()
	}
}

func (m *meter) count(verdicts map[string]int, took Steps) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps.Decode += took.Decode
	m.steps.Apply += took.Apply
	for verdict, n := range verdicts {
		m.verdicts[verdict] += n
	}
}

// committed records the latency of a record whose rows are now committed. sent
// is its SentHeader.
func (m *meter) committed(sent []byte, now time.Time) {
	due, ok := traffic.Sent(sent)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.warm.IsZero() {
		m.warm = due.Add(m.job.Warmup)
	}
	if !due.Before(m.warm) {
		m.latencies = append(m.latencies, float64(now.Sub(due))/float64(time.Millisecond))
	}
}

// took records the latency of a request that was sent at a time, unless it was sent before the
// end of the warmup.
func (m *meter) took(sent time.Time) {
	took := time.Since(sent)
	m.mu.Lock()
	defer m.mu.Unlock()
	if sent.Sub(m.started) >= m.job.Warmup {
		m.latencies = append(m.latencies, float64(took)/float64(time.Millisecond))
	}
}

// stepCommitted and acknowledged record how long it takes from the commit of a step until the
// message about it is acknowledged. Either may be reported first.
func (m *meter) stepCommitted(step string, now time.Time) { m.pair(step, now, false) }
func (m *meter) acknowledged(step string, now time.Time)  { m.pair(step, now, true) }

func (m *meter) pair(step string, now time.Time, isAck bool) {
	if m.job.Warmup == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.warm.IsZero() {
		m.warm = now.Add(m.job.Warmup)
	}
	first, ok := m.commits[step]
	if !ok {
		m.commits[step] = now
		return
	}
	delete(m.commits, step)
	took := now.Sub(first)
	if !isAck {
		took = 0 // it was acknowledged before this process knew that it was committed
	}
	if now.After(m.warm) {
		m.latencies = append(m.latencies, float64(took)/float64(time.Millisecond))
	}
}

func (m *meter) result() (Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settled == 0 {
		return Result{}, errors.New("no record was settled")
	}
	if m.job.Box == 0 && m.settled < m.job.Records {
		return Result{}, fmt.Errorf("only %d of %d records were settled", m.settled, m.job.Records)
	}
	rss, err := peakRSS()
	if err != nil {
		return Result{}, err
	}
	return Result{
		Records: m.settled, Seconds: m.last.Sub(m.started).Seconds(), RSSMiB: rss, CPU: cpuSeconds(),
		Verdicts: maps.Clone(m.verdicts), Steps: m.steps, Latencies: m.latencies,
	}, nil
}

var highWater = regexp.MustCompile(`VmHWM:\s*(\d+) kB`)

// peakRSS returns the peak resident set of this process, in MiB. getrusage
// would include the parent's, if that was larger at the fork.
func peakRSS() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read peak memory: %w", err)
	}
	found := highWater.FindSubmatch(status)
	if found == nil {
		return 0, errors.New("read peak memory: no VmHWM")
	}
	kib, err := strconv.ParseFloat(string(found[1]), 64)
	return kib / 1024, err
}

func cpuSeconds() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
}
