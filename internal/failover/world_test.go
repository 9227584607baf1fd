//go:build failover

package failover

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }

const (
	topic      = "things"
	group      = "workers"
	partitions = 3

	// soon is longer than anything in these tests takes.
	soon = 45 * time.Second
)

var thing = statemachine.MustCompile(statemachine.Definition{
	Name: "thing", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "made", To: "new"},
		{Event: "touched", From: statemachine.In("new"), To: "new"},
		{Event: "paid", From: statemachine.In("new"), To: "paid"},
	},
	Terminal: statemachine.In("paid"),
})

const schema = `CREATE TABLE things (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`

// A world is a broker, the database servers and the produced records.
type world struct {
	t        testing.TB
	brokers  []string
	client   *kgo.Client
	admin    *kadm.Client
	server   *embedded.Postgres // the current database server
	steps    map[string]int     // expected steps by thing
	serial   int                // of the last message
	produced int
}

func newWorld(t testing.TB, durable bool) *world {
	t.Helper()
	kafka, err := embedded.StartKafka(embedded.KafkaConfig{Topics: map[string]int32{topic: partitions}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Close() }) // never fails
	w := &world{t: t, brokers: kafka.Brokers(), steps: make(map[string]int)}
	w.client, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	w.server = w.postgres(embedded.StartPostgres(t.Context(), embedded.PostgresConfig{Durable: durable}))
	if err := migrate.Up(t.Context(), w.server.URL()); err != nil {
		t.Fatal(err)
	}
	w.exec(w.server, schema)
	return w
}

// postgres registers a server to be closed at the end of the test.
func (w *world) postgres(server *embedded.Postgres, err error) *embedded.Postgres {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := server.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return server
}

// standby starts a standby of the current server and waits until it has caught
// up.
func (w *world) standby() *embedded.Postgres {
	w.t.Helper()
	w.needsBackups()
	standby := w.postgres(w.server.Standby(w.t.Context()))
	w.caughtUp(standby)
	return standby
}

// needsBackups skips the test if this machine cannot copy servers.
func (w *world) needsBackups() {
	w.t.Helper()
	if _, err := exec.LookPath(filepath.Join(w.server.BinDir(), "pg_basebackup")); err != nil {
		w.t.Skipf("this test needs pg_basebackup: %v", err)
	}
}

// caughtUp waits until the standby has everything the current server has now.
func (w *world) caughtUp(standby *embedded.Postgres) {
	w.t.Helper()
	at := w.ask(w.server, `SELECT pg_current_wal_lsn()::text`)
	testenv.Eventually(w.t, soon, func() error {
		if ok := w.ask(standby, `SELECT (pg_last_wal_replay_lsn() >= '`+at+`')::text`); ok != "true" {
			return fmt.Errorf("the standby has not reached %s yet", at)
		}
		return nil
	})
}

// cutOff disconnects the standby until it is promoted.
func (w *world) cutOff(standby *embedded.Postgres) {
	w.t.Helper()
	w.exec(standby, `ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'`)
	w.exec(standby, `SELECT pg_reload_conf()`)
	testenv.Eventually(w.t, soon, func() error {
		if n := w.ask(w.server, `SELECT count(*)::text FROM pg_stat_replication`); n != "0" {
			return fmt.Errorf("%s standbys are still connected", n)
		}
		return nil
	})
}

// waitForStandby makes the server wait for a standby on each COMMIT.
func (w *world) waitForStandby() {
	w.t.Helper()
	w.exec(w.server, `ALTER SYSTEM SET synchronous_standby_names = '*'`)
	w.exec(w.server, `SELECT pg_reload_conf()`)
	testenv.Eventually(w.t, soon, func() error {
		if names := w.ask(w.server, `SHOW synchronous_standby_names`); names != "*" {
			return fmt.Errorf("synchronous_standby_names is still %q", names)
		}
		return nil
	})
}

// failOver kills the current server and promotes the standby.
func (w *world) failOver(standby *embedded.Postgres) {
	w.t.Helper()
	w.kill()
	w.exec(standby, `SELECT pg_promote()`)
	w.server = standby
}

func (w *world) kill() {
	w.t.Helper()
	if err := w.server.Kill(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) restart(server *embedded.Postgres) {
	w.t.Helper()
	if err := server.Restart(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// exec runs a statement without waiting for a synchronous standby.
func (w *world) exec(server *embedded.Postgres, sql string) {
	w.t.Helper()
	w.ask(server, sql)
}

// ask returns the first column of a query's rows.
func (w *world) ask(server *embedded.Postgres, sql string) string {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), server.URL()+"&options=-c%20synchronous_commit%3Dlocal")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(w.t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	answers, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) { return string(row.RawValues()[0]), nil })
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(answers, ",")
}

// either returns a connection string for whichever of two servers is writable.
func either(a, b *embedded.Postgres) string {
	one, err := url.Parse(a.URL())
	if err != nil {
		panic(err)
	}
	other, err := url.Parse(b.URL())
	if err != nil {
		panic(err)
	}
	one.Host += "," + other.Host
	q := one.Query()
	q.Set("target_session_attrs", "read-write")
	one.RawQuery = q.Encode()
	return one.String()
}

// A way redirects new connections to one server or another, like a DNS name or
// a virtual IP. Existing connections stay.
type way struct{ address atomic.Value }

func (w *way) to(server *embedded.Postgres) {
	u, err := url.Parse(server.URL())
	if err != nil {
		panic(err)
	}
	w.address.Store(u.Host)
}

func (w *way) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, w.address.Load().(string))
}

// pool opens a pool on a connection string.
func (w *world) pool(url string, change func(*pgxpool.Config)) *pgxpool.Pool {
	w.t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		w.t.Fatal(err)
	}
	if change != nil {
		change(cfg)
	}
	pool, err := pgxpool.NewWithConfig(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(pool.Close)
	return pool
}

// poolBy opens a pool that connects through a way.
func (w *world) poolBy(way *way) *pgxpool.Pool {
	w.t.Helper()
	way.to(w.server)
	return w.pool(w.server.URL(), func(cfg *pgxpool.Config) { cfg.ConnConfig.DialFunc = way.dial })
}

func (w *world) open(pool *pgxpool.Pool) *postgres.Store {
	w.t.Helper()
	store, err := postgres.Open(w.t.Context(), pool, postgres.Table{Machine: thing, Name: "things"})
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

// A worker is a running worker and its log.
type worker struct {
	t        testing.TB
	logs     lines
	troubles atomic.Int64
	cancel   context.CancelFunc
	done     chan error
}

// Trouble counts the attempts that failed.
func (w *worker) Trouble(context.Context, error, time.Duration) { w.troubles.Add(1) }

func (w *world) config(store *postgres.Store) consumer.Config {
	return consumer.Config{
		Client: []kgo.Opt{kgo.SeedBrokers(w.brokers...)}, Group: group, Topics: []string{topic},
		Store: store, Decode: consumer.DecodeMessage, RetryMax: 500 * time.Millisecond,
	}
}

func (w *world) run(cfg consumer.Config) *worker {
	w.t.Helper()
	worker := &worker{t: w.t, done: make(chan error, 1)}
	cfg.Logger = slog.New(slog.NewTextHandler(&worker.logs, nil))
	cfg.Hooks = []consumer.Hook{worker}
	c, err := consumer.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	worker.cancel = cancel
	go func() { worker.done <- c.Run(ctx) }()
	w.t.Cleanup(worker.stop)
	return worker
}

// stop stops the worker if it is running.
func (w *worker) stop() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	w.cancel = nil
	if err := <-w.done; err != nil {
		w.t.Errorf("Run: %v\n%s", err, w.logs.String())
	}
	if w.t.Failed() {
		w.t.Logf("the worker's log:\n%s", w.logs.String())
	}
}

// lines is a log. It is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// message returns a record with an event for a thing.
func (w *world) message(key string, event statemachine.Event) *kgo.Record {
	value, err := json.Marshal(consumer.Message{Key: key, Event: event})
	if err != nil {
		panic(err)
	}
	w.serial++
	return &kgo.Record{
		Key: []byte(key), Value: value,
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: fmt.Append(nil, w.serial)}},
	}
}

// make returns records that create n things and touch each.
func (w *world) make(n int) (records []*kgo.Record) {
	for range n / 2 {
		key := fmt.Sprint("thing-", len(w.steps))
		w.steps[key] = 2
		records = append(records, w.message(key, "made"), w.message(key, "touched"))
	}
	return records
}

func (w *world) produce(records ...*kgo.Record) {
	w.t.Helper()
	if err := w.client.ProduceSync(w.t.Context(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
	w.produced += len(records)
}

// committed returns the sum of the group's committed offsets.
func (w *world) committed() (sum int64) {
	w.t.Helper()
	offsets, err := w.admin.FetchOffsets(w.t.Context(), group)
	if err != nil {
		w.t.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
	return sum
}

// awaitCommitted waits until the group has committed that many records.
func (w *world) awaitCommitted(want int) {
	w.t.Helper()
	testenv.Eventually(w.t, soon, func() error {
		if got := w.committed(); got != int64(want) {
			return fmt.Errorf("%d offsets committed, want %d", got, want)
		}
		return nil
	})
}

// awaitSettled waits until everything is committed and all things are at their
// expected versions.
func (w *world) awaitSettled() {
	w.t.Helper()
	w.awaitCommitted(w.produced)
	testenv.Eventually(w.t, soon, func() error {
		if got := w.things(); !cmp.Equal(got, w.steps) {
			return fmt.Errorf("things (-want, +got):\n%.2000s", cmp.Diff(w.steps, got))
		}
		return nil
	})
}

// things returns the versions of the things whose history matches.
func (w *world) things() map[string]int {
	w.t.Helper()
	text := w.ask(w.server, `
SELECT coalesce(json_object_agg(id, CASE WHEN version = steps THEN version END), '{}')
FROM things LEFT JOIN (SELECT entity, count(*) AS steps FROM pawl.transitions GROUP BY entity) AS h ON entity = id`)
	got := make(map[string]int)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		w.t.Fatal(err)
	}
	return got
}

// wantLogged checks whether the worker has logged something.
func (w *worker) wantLogged(word string, want bool) {
	w.t.Helper()
	if got := strings.Contains(w.logs.String(), word); got != want {
		w.t.Errorf("the log contains %q: %t, want %t", word, got, want)
	}
}

// goesBack is the log message of a worker that goes back to its marks.
const goesBack = "the database has settled less than the group has committed"
