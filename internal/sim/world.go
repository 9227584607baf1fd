package sim

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

const (
	session   = 6 * time.Second
	heartbeat = 2 * time.Second
	rebalance = 15 * time.Second

	// patience is how long the workers may take to finish after the last fault.
	patience = 5 * time.Minute
)

// A world is a running history. Its fields belong to the goroutine that plays
// it, unless noted otherwise.
type world struct {
	script  *script
	log     *slog.Logger // safe for concurrent use
	logger  func(slog.Attr) *slog.Logger
	net     *kfake.VirtualNetwork
	cluster *kfake.Cluster
	store   *versioningtest.Memory // safe for concurrent use
	foreign *foreign               // safe for concurrent use
	workers []*worker
	faults  []*kfake.FaultHandle
	calm    atomic.Bool  // the faults are over
	calls   atomic.Int64 // running calls of the store

	// Replaced by knockouts.
	apply  func(context.Context, versioning.Server, []*versioning.Record) (versioning.Result, error)
	tamper func(*world, *versioning.Plan)
	server versioning.Server // empty: each server has its own identity
	packs  func(context.Context, []versioning.Wanted) ([]versioning.Pack, error)
	fire   func(context.Context, int) (versioning.Fired, error)

	waiting time.Time // since when settle has seen the group prepare a rebalance; zero: it does not

	mu      sync.Mutex                    // guards the fields below
	checked []int64                       // by partition: all records below have a fate
	highest map[versioning.Server][]int64 // by server and partition: the highest mark written
	wrong   []string                      // violations found
	covered map[string]int
	heard   map[string]time.Time // when each member of the group was last heard, by ID

	produced map[place]time.Time // the timestamps of the records
	order    map[string]int      // the place of each message on its topic, by ID; set by check
}

// A tweak changes a world before it starts.
type tweak func(*world)

// play plays a script in a bubble of virtual time. It returns the violations
// found, and how often each covered event occurred. It leaves no goroutines
// behind.
func play(s *script, handler slog.Handler, tweaks ...tweak) (wrong []string, covered map[string]int) {
	w := newWorld(s, handler)
	for _, tweak := range tweaks {
		tweak(w)
	}
	defer w.cluster.Close()
	producer, stopForeign := w.produce(), w.writeForeign()
	w.runIncidents()
	w.endIncidents()
	producer.Wait()
	w.settle()
	w.stop()
	stopForeign()
	w.check()
	return w.wrong, w.covered
}

func newWorld(s *script, handler slog.Handler) *world {
	store := versioningtest.NewMemory(
		versioning.Rules{Machine: statemachine.MustCompile(s.definition.Definition), Identity: s.identity, MaxParked: s.maxParked},
		versioning.Rules{Machine: account, MaxParked: s.maxParked},
		versioning.Rules{Machine: alarm, MaxParked: s.maxParked},
	)
	w := &world{
		script: s, net: new(kfake.VirtualNetwork), store: store, log: slog.New(handler),
		foreign: &foreign{store: store, writes: make(map[string]int64)},
		checked: make([]int64, len(s.messages)), highest: make(map[versioning.Server][]int64), covered: make(map[string]int), heard: make(map[string]time.Time),
		produced: make(map[place]time.Time),
	}
	w.logger = func(a slog.Attr) *slog.Logger { return slog.New(handler.WithAttrs([]slog.Attr{a})) }
	w.apply, w.packs, w.fire = w.store.Apply, w.store.Packs, w.store.FireTimers
	w.store.Between(w.between)
	var err error
	w.cluster, err = kfake.NewCluster(kfake.NumBrokers(nodes), kfake.Ports(9092, 9093), kfake.ListenFn(w.net.Listen),
		kfake.SeedTopics(int32(len(s.messages)), topic), kfake.SeedTopics(announced, announcements), kfake.BrokerConfigs(map[string]string{
			"group.consumer.session.timeout.ms":    strconv.FormatInt(session.Milliseconds(), 10),
			"group.consumer.heartbeat.interval.ms": strconv.FormatInt(heartbeat.Milliseconds(), 10),
		}))
	if err != nil {
		panic(err)
	}
	w.cluster.ControlKey(int16(kmsg.OffsetCommit), w.seeCommit)
	w.hear()
	return w
}

// produce starts to produce each partition's messages at their times. It
// produces them one by one, so that offsets equal indexes in the script.
func (w *world) produce() *sync.WaitGroup {
	var all sync.WaitGroup
	all.Go(func() {
		client, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(w.net.DialContext),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
		if err != nil {
			panic(err)
		}
		defer client.Close()
		var partitions sync.WaitGroup
		for p := range w.script.messages {
			partitions.Go(func() { w.producePartition(client, int32(p)) })
		}
		partitions.Wait()
	})
	return &all
}

func (w *world) producePartition(client *kgo.Client, partition int32) {
	began := time.Now()
	for i, m := range w.script.messages[partition] {
		if wait := m.at - time.Since(began); wait > 0 {
			<-time.After(wait)
		}
		r := &kgo.Record{Topic: topic, Partition: partition, Value: strconv.AppendInt(nil, int64(i), 10)}
		err := client.ProduceSync(context.Background(), r).FirstErr()
		if err != nil || r.Offset != int64(i) {
			panic(fmt.Sprintf("seed %d: message %d of partition %d is at offset %d: %v", w.script.seed, i, partition, r.Offset, err))
		}
		w.mu.Lock()
		w.produced[place{partition, r.Offset}] = time.UnixMilli(r.Timestamp.UnixMilli()).UTC()
		w.mu.Unlock()
	}
}

// An event is something that happens at a given time.
type event struct {
	at   time.Duration
	does func()
}

// runIncidents runs the script's events until the end of the last fault.
func (w *world) runIncidents() {
	var events []event
	workers := make([]*worker, len(w.script.lives))
	for i, l := range w.script.lives {
		events = append(events, event{l.joins, func() { workers[i] = w.start(l) }})
		events = append(events, lifeEvents(l, &workers[i])...)
	}
	for _, t := range w.script.incidents {
		events = append(events, w.incidentEvents(t, &workers[t.worker])...)
	}
	events = append(events, event{at: length, does: func() {}})
	slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
	began := time.Now()
	for _, e := range events {
		if wait := e.at - time.Since(began); wait > 0 {
			<-time.After(wait)
		}
		e.does()
	}
}

func lifeEvents(l life, w **worker) []event {
	if l.at <= l.joins {
		return nil
	}
	switch l.ends {
	case leaves:
		return []event{{l.at, func() { (*w).leave() }}}
	case dies:
		return []event{{l.at, func() { (*w).kill() }}}
	case stays, crashes:
	}
	return nil
}

func (w *world) incidentEvents(t incident, worker **worker) []event {
	onLine := func(do func(*line)) func() {
		return func() {
			if *worker != nil && !(*worker).dead.Load() {
				do((*worker).line)
			}
		}
	}
	repaired := event{t.at + t.lasts, onLine((*line).repair)}
	switch t.kind {
	case cut:
		return []event{{t.at, onLine((*line).cut)}, repaired}
	case stall:
		return []event{{t.at, onLine((*line).stall)}, repaired}
	case moveCoordinator:
		return []event{{t.at, w.cluster.RehashCoordinators}}
	case moveLeader:
		return []event{{t.at, func() { _ = w.cluster.MoveTopicPartition(t.topic, t.partition, t.node) }}}
	case freeze:
		return []event{{t.at, func() {
			if *worker != nil {
				(*worker).freeze.Store(int64(t.lasts))
			}
		}}}
	case refuse:
		return []event{{t.at, func() {
			fault := kfake.Fault{Keys: []kmsg.Key{t.key}, Err: t.err, Count: t.count}
			w.faults = append(w.faults, w.cluster.Fault(fault))
		}}}
	case restore:
		var backup saved
		return []event{{t.at, func() { backup = w.foreign.backup() }}, {t.at + t.lasts, func() { w.restore(backup) }}}
	case kinds:
	}
	return nil
}

// endIncidents ends all faults and makes sure that there is a worker.
func (w *world) endIncidents() {
	w.calm.Store(true)
	for _, f := range w.faults {
		f.Remove()
	}
	anybody := false
	for _, worker := range w.workers {
		if worker.dead.Load() {
			continue
		}
		worker.line.repair()
		anybody = anybody || !worker.left
	}
	if !anybody {
		w.start(life{shutdownGrace: time.Second})
	}
}

// stop stops all workers and waits for them.
func (w *world) stop() {
	for _, worker := range w.workers {
		worker.cancel()
	}
	for _, worker := range w.workers {
		if err := <-worker.done; err != nil {
			w.fail("%s: Run returned %v", worker.name, err)
		}
	}
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// cover records that something has happened.
func (w *world) cover(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.covered[fmt.Sprintf(format, args...)]++
}
