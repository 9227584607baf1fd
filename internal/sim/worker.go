package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

const (
	group = "workers"
	topic = "t"
)

// A worker is one worker process. In addition to the consumer it can die. A
// dead worker's goroutines run to their end, but can reach neither the broker
// nor the store.
type worker struct {
	world  *world
	name   string
	life   life
	line   *line
	been   [boundaries + 3]atomic.Int64
	calls  atomic.Int64 // running transactions
	dead   atomic.Bool
	on     atomic.Value // the versioning.Server from which the worker last read marks
	freeze atomic.Int64 // nanoseconds to stand still
	left   bool         // belongs to the goroutine of play
	cancel context.CancelFunc
	done   chan error

	mu     sync.Mutex            // guards the fields below
	mood   *rand.Rand            // of the store
	holder versioning.LaneHolder // the worker's relay
}

var errDead = errors.New("process is dead")

// start starts a worker.
func (w *world) start(l life) *worker {
	n := len(w.workers)
	worker := &worker{
		world: w, name: fmt.Sprint("worker-", n), life: l, line: newLine(w.net),
		mood: rand.New(rand.NewPCG(w.script.seed, uint64(100+n))), done: make(chan error, 1),
	}
	w.workers = append(w.workers, worker)
	c, err := consumer.New(worker.config())
	if err != nil {
		panic(err) // all workers have the same configuration
	}
	var ctx context.Context
	ctx, worker.cancel = context.WithCancel(context.Background())
	go func() { worker.done <- c.Run(ctx) }()
	return worker
}

func (w *worker) config() consumer.Config {
	return consumer.Config{
		Client: []kgo.Opt{
			kgo.SeedBrokers("localhost:9092", "localhost:9093"), kgo.Dialer(w.line.dial), kgo.ClientID(w.name),
			kgo.SessionTimeout(session), kgo.HeartbeatInterval(heartbeat), kgo.RebalanceTimeout(rebalance),
			kgo.FetchMaxWait(2 * time.Second), kgo.WithHooks(w),
		},
		Group: group, Topics: []string{topic}, Store: &handle{w}, Decode: w.decode, Protocol: w.world.script.protocol,
		MaxBatch: w.life.maxBatch, ApplyTimeout: w.life.applyTimeout, ShutdownGrace: w.life.shutdownGrace,
		RebalanceHold: w.life.rebalanceHold, RetryMax: 2 * time.Second, SweepEvery: 3 * time.Second,
		Logger: w.world.logger(slog.String("worker", w.name)), Hooks: []consumer.Hook{w},
	}
}

func (w *worker) leave() {
	w.left = true
	w.cancel()
}

// kill ends the process: nothing it does has an effect from now on.
func (w *worker) kill() {
	w.dead.Store(true)
	w.line.cut()
	w.loseLanes()
	w.cancel()
}

// reach records that the worker has reached a boundary, where it may die. It
// returns false if the worker is dead.
func (w *worker) reach(to boundary) bool {
	times := w.been[to].Add(1)
	if w.life.ends == crashes && w.life.where == to && times == int64(w.life.times) && !w.world.calm.Load() {
		w.world.log.Info("crash", slog.String("worker", w.name), slog.Int("boundary", int(to)))
		w.world.cover("crash at boundary %d", to)
		w.kill()
	}
	return !w.dead.Load()
}

func (w *worker) decode(r *versioning.Record) ([]versioning.Change, error) {
	w.reach(beforeDecode)
	defer w.reach(afterDecode)
	index, err := strconv.Atoi(string(r.Value))
	if err != nil {
		return nil, err
	}
	m := &w.world.script.messages[r.Origin.Partition][index]
	switch m.garbage {
	case undecodable:
		return nil, errors.New("garbage")
	case panics:
		panic("garbage")
	case readable:
	}
	changes := make([]versioning.Change, len(m.Parts))
	for i, part := range m.Parts {
		changes[i] = versioning.Change{Machine: w.world.script.machineOf(m), Key: part.Key, Event: part.Event, MessageID: m.ID}
		switch {
		case m.isMoney:
			changes[i].Data = m.movement
		case part.Event == armed && m.isAlarm:
			changes[i].Data = m.setting
		}
		if part.Expected >= 0 {
			changes[i].Expected = versioning.At(part.Expected)
		}
	}
	return changes, nil
}

// OnBrokerWrite is called by the client when a request was sent.
func (w *worker) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.OffsetCommit) {
		w.reach(commitSent)
	}
}

// OnBrokerRead is called by the client when a request was answered.
func (w *worker) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.OffsetCommit) {
		w.reach(afterCommit)
	}
}

// BatchEnd is called by the consumer once a batch is settled.
func (w *worker) BatchEnd(_ context.Context, b consumer.Batch) {
	if !w.reach(afterBatch) {
		return
	}
	for _, o := range b.Outcomes {
		w.world.cover("%v", o.Verdict)
	}
}
