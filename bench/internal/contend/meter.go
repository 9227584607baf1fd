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

// A meter keeps the time of one contender, and ends its run. It is safe for
// concurrent use.
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
	warm      time.Time // what was due before is not counted in latencies
}

func newMeter(job Job, ready func(), stop context.CancelFunc) *meter {
	return &meter{job: job, ready: ready, stop: stop, verdicts: make(map[string]int)}
}

// OnBrokerWrite starts the clock with the first fetch: it is a hook of kgo.
func (m *meter) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == kmsg.Fetch.Int16() {
		m.start()
	}
}

var _ kgo.HookBrokerWrite = (*meter)(nil)

// start starts the clock, the first time that it is called.
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

// settle notes that n more records are settled, and ends the run with the last.
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

// committed notes that the rows of a record whose SentHeader is sent are
// committed now.
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

func (m *meter) result() (Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settled == 0 {
		return Result{}, errors.New("not one record was settled")
	}
	if m.job.Box == 0 && m.settled < m.job.Records {
		return Result{}, fmt.Errorf("%d of %d records were settled", m.settled, m.job.Records)
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

// peakRSS returns the largest resident set of this process, in MiB. (That of
// getrusage would be the parent's, if that was larger when it forked.)
func peakRSS() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read the peak of the memory: %w", err)
	}
	found := highWater.FindSubmatch(status)
	if found == nil {
		return 0, errors.New("read the peak of the memory: there is no VmHWM")
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
