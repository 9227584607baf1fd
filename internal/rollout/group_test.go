package rollout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning/postgres"
)

const (
	partitions = 6
	members    = 3
	perSecond  = 200

	// session is how long a killed worker keeps its partitions, and rebalance how long the
	// others wait for one that is killed while it joins. session is longer, because kfake
	// lets the session of a worker that waits in a rebalance end.
	session   = 1500 * time.Millisecond
	rebalance = time.Second

	// longestStop is how long a partition with lag may make no progress: that of a killed
	// worker waits for the session timeout, and then for a rebalance.
	longestStop = 30 * time.Second

	// soon is longer than anything in these tests takes.
	soon = 2 * time.Minute
)

// A group is a group of workers, its topic and its database.
type group struct {
	t       *testing.T
	job     job
	rng     *rand.Rand
	pool    *pgxpool.Pool
	client  *kgo.Client
	ledger  *ledger
	members [members]*member

	committed atomic.Int64  // records
	longest   time.Duration // without progress; read it after the monitor has ended
	kills     atomic.Int64
	moved     atomic.Int64 // crates, by Migrate
}

// A member is a place in the group. Hold mu to replace its process.
type member struct {
	mu      sync.Mutex
	job     job
	process *process
}

// newGroup starts a group with version 1 of the machine, a producer, and a monitor.
func newGroup(t *testing.T, seed uint64) *group {
	t.Helper()
	g := &group{t: t, rng: rand.New(rand.NewPCG(seed, 1))}
	database := testenv.Postgres(t, migrated)
	pool, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	g.pool = pool
	if _, err := pool.Exec(t.Context(), `CREATE TABLE crates (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, weight bigint NOT NULL DEFAULT 0)`); err != nil {
		t.Fatal(err)
	}
	topic := testenv.Topic(t, partitions)
	g.job = job{Version: 1, Database: database, Brokers: testenv.Brokers(t), Group: topic + "-workers", Topic: topic, Out: testenv.Topic(t, 3), Session: session, Rebalance: rebalance}
	if g.client, err = kgo.NewClient(kgo.SeedBrokers(g.job.Brokers...), kgo.DefaultProduceTopic(topic)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.client.Close)
	g.ledger = &ledger{rng: rand.New(rand.NewPCG(seed, 2)), crates: make(map[string]*account)}
	for i := range g.members {
		m := &member{job: g.job}
		m.process = start(t, m.job)
		g.members[i] = m
	}
	t.Cleanup(func() {
		if t.Failed() {
			g.describe()
		}
		for _, m := range g.members {
			if !t.Failed() {
				m.process.kill()
				continue
			}
			m.process.abort()
			t.Logf("the log of a worker of version %d:\n%s", m.job.Version, m.process.log())
		}
	})
	g.background(func(ctx context.Context) { g.ledger.produce(ctx, t, g.client, perSecond) })
	for _, m := range g.members {
		g.awaitWork(m)
	}
	g.background(g.monitor)
	return g
}

// describe logs what the database and the broker say about the workers.
func (g *group) describe() {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	rows, err := g.pool.Query(ctx, `
SELECT concat_ws(' ', pid, state, wait_event_type, wait_event, now() - xact_start, pg_blocking_pids(pid)::text, left(query, 200))
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	if err == nil {
		var sessions []string
		sessions, err = pgx.CollectRows(rows, pgx.RowTo[string])
		g.t.Logf("sessions: %v\n%s", err, strings.Join(sessions, "\n"))
	}
	groups, err := kadm.NewClient(g.client).DescribeGroups(ctx, g.job.Group)
	g.t.Logf("group: %+v, %v", groups[g.job.Group], err)
}

// background calls work in a goroutine, and returns a function that cancels its context and
// waits for it. That also happens at the end of the test.
func (g *group) background(work func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		work(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	g.t.Cleanup(stop)
	return stop
}

// roll replaces one worker after another by one of another version, while it kills workers at
// random moments. Meanwhile between is called once, when the first of them works.
func (g *group) roll(version int, between func()) {
	g.t.Helper()
	stopKilling := g.background(g.killer(rand.New(rand.NewPCG(g.rng.Uint64(), 3))))
	for i, n := range g.rng.Perm(members) {
		m := g.members[n]
		m.mu.Lock()
		g.wantExit(m, m.process.stop())
		m.job.Version = version
		m.process = start(g.t, m.job)
		m.mu.Unlock()
		g.awaitWork(m)
		if i == 0 && between != nil {
			between()
		}
		g.awaitRecords(g.rng.IntN(perSecond))
	}
	stopKilling()
	g.t.Logf("all workers have version %d; %d records are committed, %d workers were killed, %d crates were migrated",
		version, g.committed.Load(), g.kills.Load(), g.moved.Load())
}

// killer kills a random worker at random moments, and replaces it by a new process. It kills the
// next one when that works, because a group in which somebody always dies gets nothing done.
func (g *group) killer(rng *rand.Rand) func(ctx context.Context) {
	return func(ctx context.Context) {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(rng.IntN(2000)) * time.Millisecond):
			}
			m := g.members[rng.IntN(members)]
			if !m.mu.TryLock() { // it is being replaced
				continue
			}
			if !m.process.kill() {
				g.t.Errorf("a worker of version %d has stopped by itself: %v\n%s", m.job.Version, m.process.cmd.ProcessState, m.process.log())
			}
			g.kills.Add(1)
			p := start(g.t, m.job)
			m.process = p
			m.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-p.works:
			case <-p.ended: // it was stopped
			}
		}
	}
}

func (g *group) wantExit(m *member, status int) {
	g.t.Helper()
	if status != 0 {
		g.t.Errorf("a worker of version %d has exited with %d:\n%s", m.job.Version, status, m.process.log())
	}
}

// stop stops all workers.
func (g *group) stop() {
	g.t.Helper()
	for _, m := range g.members {
		g.wantExit(m, m.process.stop())
	}
}

// awaitWork waits until the member's current process has settled a batch.
func (g *group) awaitWork(m *member) {
	g.t.Helper()
	testenv.Eventually(g.t, soon, func() error {
		m.mu.Lock()
		p := m.process
		m.mu.Unlock()
		select {
		case <-p.works:
			return nil
		case <-p.ended:
			return errors.New("it has ended")
		default:
			return errors.New("it has not settled a batch")
		}
	})
}

// awaitRecords waits until n more records are committed.
func (g *group) awaitRecords(n int) {
	g.t.Helper()
	from := g.committed.Load()
	testenv.Eventually(g.t, soon, func() error {
		if now := g.committed.Load(); now < from+int64(n) {
			return fmt.Errorf("%d records are committed; want %d", now, from+int64(n))
		}
		return nil
	})
}

// monitor watches what is committed, and that no partition stops for long.
func (g *group) monitor(ctx context.Context) {
	admin := kadm.NewClient(g.client)
	var at [partitions]int64
	var since [partitions]time.Time
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		ends, err := admin.ListEndOffsets(ctx, g.job.Topic)
		committed, err2 := admin.FetchOffsets(ctx, g.job.Group)
		if err := errors.Join(err, err2); err != nil {
			if ctx.Err() == nil {
				g.t.Errorf("read offsets: %v", err)
			}
			return
		}
		var sum int64
		for p := range int32(partitions) {
			now := int64(0)
			if o, ok := committed.Lookup(g.job.Topic, p); ok {
				now = max(now, o.At)
			}
			end, _ := ends.Lookup(g.job.Topic, p)
			sum += now
			if now > at[p] || now >= end.Offset || since[p].IsZero() {
				at[p], since[p] = now, time.Now()
				continue
			}
			stopped := time.Since(since[p])
			g.longest = max(g.longest, stopped)
			if stopped > longestStop {
				g.t.Errorf("partition %d has made no progress for %v: it is at offset %d of %d", p, stopped, now, end.Offset)
				since[p] = time.Now()
			}
		}
		g.committed.Store(sum)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// migrate calls Migrate again and again, as a version does that retires states.
func (g *group) migrate(version int) (stop func()) {
	g.t.Helper()
	store, err := openStore(g.t.Context(), g.pool, version, g.job.Out)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.background(func(ctx context.Context) {
		for ctx.Err() == nil {
			g.migrateOnce(ctx, store)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

func (g *group) migrateOnce(ctx context.Context, store *postgres.Store) {
	done, err := store.Migrate(ctx, postgres.Migration{Batch: 20})
	g.moved.Add(done.Moved)
	if ctx.Err() == nil && (err != nil || done.Left > 0) {
		g.t.Errorf("Migrate = %+v, %v", done, err)
	}
}
