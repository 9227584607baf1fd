package jobs_test

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/versioning"
)

// A restorable is a server that a backup of it may replace. The pool's new connections go to the
// current one.
type restorable struct {
	t    *testing.T
	pool *pgxpool.Pool

	mu      sync.Mutex
	current *embedded.Postgres
	backup  *embedded.Postgres
}

// newRestorable starts a server with the tables of withRiver.
func newRestorable(t *testing.T) (*restorable, *pgxpool.Pool) {
	t.Helper()
	server, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() }) // it may be dead
	if err := prepare(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	r := &restorable{t: t, current: server}
	config, err := pgxpool.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DialFunc = r.dial
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	r.pool = pool
	return r, pool
}

func (r *restorable) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	r.mu.Lock()
	to, err := url.Parse(r.current.URL())
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, to.Host)
}

func (r *restorable) backUp() {
	r.t.Helper()
	backup, err := r.current.Backup(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = backup.Close() }) // as above
	r.backup = backup
}

func (r *restorable) restore() {
	r.t.Helper()
	if err := r.backup.Restart(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.current = r.backup
	r.mu.Unlock()
	r.pool.Reset() // without the connections that have broken
}

// A dyingStore kills its server when it has made a change, once.
type dyingStore struct {
	jobs.Store
	kill sync.Once
	dead chan struct{}
	of   *restorable
}

func (s *dyingStore) Do(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error) {
	outcome, err := s.Store.Do(ctx, changes...)
	s.kill.Do(func() {
		if err := s.of.current.Kill(); err != nil {
			s.of.t.Error(err)
		}
		close(s.dead)
	})
	return outcome, err
}

// TestLostResult loses the result of a job together with the server, after the job has ended and
// before River has stored that. The job is run again with the result.
func TestLostResult(t *testing.T) {
	t.Parallel()
	for _, class := range []jobs.Class{jobs.Repeatable, jobs.Once} {
		t.Run(class.String(), func(t *testing.T) {
			t.Parallel()
			server, pool := newRestorable(t)
			e := newEnvOn(t, pool, machineWith(place), nil)
			b := &bank{}
			running, goOn := make(chan struct{}, 1), make(chan struct{})
			store := &dyingStore{Store: e.store, dead: make(chan struct{}), of: server}
			workOn(e, pool, store, jobs.Handler[Charge]{Class: class, Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
				if b.call(c.Key) == 1 {
					running <- struct{}{}
					<-goOn
				}
				return jobs.Event("succeeded", charged{"charge"}), nil
			}}, nil)
			e.place("p1", 1)
			<-running
			server.backUp()
			close(goOn)
			<-store.dead
			server.restore()
			e.eventually(states, "p1 paid 2 charge")
			e.eventually(jobState, "completed")
			b.wantCalls(t, 1, 0)
		})
	}
}

// TestLostAnswer loses a server while the call of a job fails. The job is run again on the next
// one, and still knows then that the call may have been made.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	server, pool := newRestorable(t)
	e := newEnvOn(t, pool, machineWith(place), &river.Config{MaxAttempts: 1})
	b := &bank{}
	running, goOn := make(chan struct{}, 1), make(chan struct{})
	workOn(e, pool, e.store, jobs.Handler[Charge]{
		Class: jobs.Repeatable, Unknown: "unknown",
		Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
			if b.call(c.Key) > 1 {
				return nil, jobs.NotCalled(errBroken)
			}
			running <- struct{}{}
			<-goOn
			return nil, errBroken
		},
	}, nil)
	e.place("p1", 1)
	<-running
	server.backUp()
	if err := server.current.Kill(); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	server.restore()
	e.eventually(states, "p1 unknown 2 ")
	b.wantCalls(t, 1, 0)
}

// TestRestart restarts a server while a job waits for its turn. The job ends as put off, as without
// the restart, because nobody has made its call.
func TestRestart(t *testing.T) {
	t.Parallel()
	server, pool := newRestorable(t)
	e := newEnvOn(t, pool, machineWith(place), nil)
	b := &bank{}
	running, goOn := make(chan struct{}, 1), make(chan struct{})
	h := jobs.Handler[Charge]{
		Class: jobs.Once, Unknown: "unknown", Provider: &jobs.Provider{Name: "bank", Concurrency: 1},
		Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
			if c.Entity.Key == "p2" {
				b.call(c.Key)
				return jobs.Event("succeeded", charged{"charge"}), nil
			}
			running <- struct{}{}
			<-goOn
			return nil, jobs.RetryAfter(jobs.NotCalled(errBroken), time.Hour)
		},
	}
	client := workOn(e, pool, e.store, h, nil)
	e.place("p1", 1)
	<-running
	e.place("p2", 1)
	e.eventually(jobState, "running", "running")
	if err := server.current.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.current.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool.Reset()
	close(goOn)
	e.eventually(`SELECT state || ' ' || attempt || ' ' || coalesce(metadata ->> 'snoozes', '') FROM river_job ORDER BY id`, "scheduled 0 1", "scheduled 0 1")
	stop(t, client)
	h.Provider = &jobs.Provider{Name: "bank"} // it is not paused
	workOn(e, pool, e.store, h, nil)
	e.exec(`UPDATE river_job SET state = 'available', scheduled_at = now() WHERE id = 2`)
	e.eventually(states, "p1 pending 1 ", "p2 paid 2 charge")
	b.wantCalls(t, 1, 0)
}

// TestLostJob loses a job together with the server, after it has ended and before River has stored
// that. Another job gets its ID. The end of the lost one is not that of the other.
func TestLostJob(t *testing.T) {
	t.Parallel()
	server, pool := newRestorable(t)
	e := newEnvOn(t, pool, machineWith(place), nil)
	store := &dyingStore{Store: e.store, dead: make(chan struct{}), of: server}
	running, goOn := make(chan struct{}), make(chan struct{})
	calls := 0 // about p2
	workOn(e, pool, store, jobs.Handler[Charge]{Class: jobs.Repeatable, Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		if c.Entity.Key == "p2" {
			if calls++; calls == 1 {
				close(running)
				<-goOn
				return nil, errBroken
			}
		}
		return jobs.Event("succeeded", charged{"charge"}), nil
	}}, nil)
	server.backUp()
	e.place("p1", 1)
	<-store.dead
	server.restore()
	e.place("p2", 1)
	<-running
	e.want(`SELECT id::text FROM river_job`, "1") // as that of the lost job
	// River tries again to store the end of the lost job, after four seconds at most.
	for deadline := time.Now().Add(6 * time.Second); time.Now().Before(deadline) && e.query(jobState)[0] == "running"; {
		<-time.After(20 * time.Millisecond)
	}
	e.want(jobState, "running")
	close(goOn)
	e.eventually(states, "p2 paid 2 charge")
	e.eventually(jobState, "completed")
}

// TestNotesOfAnotherJob checks that a job does not take the result and the mark of another one for
// its own: that one is lost, and a late attempt of it has written them.
func TestNotesOfAnotherJob(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	e.place("p1", 1)
	e.exec(`UPDATE river_job SET metadata = metadata ||
		'{"pawl_result": {"job": "other", "changes": [{"event": "declined"}]}, "output": {"job": "other", "calling_since_attempt": "1"}}'`)
	b := &bank{}
	work(e, jobs.Handler[Charge]{Class: jobs.Once, Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		b.call(c.Key)
		return jobs.Event("succeeded", charged{"charge"}), nil
	}})
	e.eventually(states, "p1 paid 2 charge")
	b.wantCalls(t, 1, 0)
}
