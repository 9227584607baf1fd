package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// A shop is a worker's servers with orders on the topic, and helpers to inspect
// them.
type shop struct {
	t            *testing.T
	brokers, url string
	client       *kgo.Client
}

// openShop produces the traffic of some orders to the topic.
func openShop(t *testing.T, orders int) *shop {
	t.Helper()
	s := &shop{t: t}
	s.brokers, s.url = servers(t)
	if _, _, err := execute(t, "migrate", "up", "--database-url", s.url); err != nil {
		t.Fatal(err)
	}
	if _, err := produce(t.Context(), strings.Split(s.brokers, ","), "orders", traffic.Plan{Orders: orders, Prefix: "o"}); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s.client = client
	return s
}

// kept selects the offsets of a partition's records that the database knows:
// those in the history, the parked records and the dead letters.
const kept = `SELECT "offset" FROM pawl.transitions WHERE partition = $1
	UNION SELECT "offset" FROM pawl.parked WHERE partition = $1
	UNION SELECT "offset" FROM pawl.dead_letters WHERE partition = $1`

// committed returns the group's committed offset of each partition.
func (s *shop) committed() map[int32]int64 {
	s.t.Helper()
	offsets, err := kadm.NewClient(s.client).FetchOffsets(s.t.Context(), "order-workers")
	committed := make(map[int32]int64)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return committed // nothing was committed yet
	}
	if err != nil {
		s.t.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) { committed[o.Partition] = o.At })
	return committed
}

// ends returns the end offset of each partition.
func (s *shop) ends() map[int32]int64 {
	s.t.Helper()
	offsets, err := kadm.NewClient(s.client).ListEndOffsets(s.t.Context(), "orders")
	if err != nil {
		s.t.Fatal(err)
	}
	ends := make(map[int32]int64)
	offsets.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends
}

// members returns the number of workers in the group.
func (s *shop) members() int {
	s.t.Helper()
	groups, err := kadm.NewClient(s.client).DescribeGroups(s.t.Context(), "order-workers")
	if err != nil {
		s.t.Fatal(err)
	}
	return len(groups["order-workers"].Members)
}

// isDone reports whether the group has committed the whole topic.
func (s *shop) isDone() bool {
	committed := s.committed()
	for partition, end := range s.ends() {
		if end > 0 && committed[partition] != end {
			return false
		}
	}
	return true
}

// await polls until check returns true.
func (s *shop) await(what string, check func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("timed out after a minute: %s", what)
		}
	}
}

// A process is a worker in a separate process.
type process struct {
	*exec.Cmd

	stderr bytes.Buffer // read it only after the process has ended
	ended  chan struct{}
}

// startProcess starts a worker.
func (s *shop) startProcess(args ...string) *process {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &process{ended: make(chan struct{})}
	args = append([]string{"worker", "--with-parent", "--session-timeout=1s", "--brokers", s.brokers, "--database-url", s.url}, args...)
	p.Cmd = exec.CommandContext(s.t.Context(), self, args...)
	p.Stderr = &p.stderr
	stdin, err := p.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = stdin.Close() })
	if err := p.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // ProcessState says how it ended
	}()
	return p
}

// signal asks a process to end and does not wait.
func (s *shop) signal(p *process) {
	s.t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
}

// wait waits until a process ends.
func (s *shop) wait(p *process) {
	s.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		s.t.Fatal("the worker's process did not end")
	}
}

// checkResult checks that nothing was lost and nothing was applied twice: each
// order must be where an undisturbed worker would have left it.
func (s *shop) checkResult() {
	s.t.Helper()
	var twice, astray int
	query(s.t, s.url, `SELECT count(*) FROM (SELECT FROM pawl.transitions GROUP BY machine, entity, message_id HAVING count(*) > 1) AS d`, &twice)
	query(s.t, s.url, `SELECT count(*) FROM orderflow.orders AS o WHERE version <> (SELECT count(*) FROM pawl.transitions WHERE machine = 'order' AND entity = o.id)`, &astray)
	if twice+astray > 0 {
		s.t.Errorf("%d messages were applied twice, %d orders have steps without history", twice, astray)
	}
}

// offsetsKept returns how many records of a partition the database knows, and
// how many of them are at or beyond an offset.
func (s *shop) offsetsKept(partition int32, from int64) (all, beyond int) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close(s.t.Context()) }()
	sql := `SELECT count(*), count(*) FILTER (WHERE "offset" >= $2) FROM (` + kept + `) AS k`
	if err := conn.QueryRow(s.t.Context(), sql, partition, from).Scan(&all, &beyond); err != nil {
		s.t.Fatal(err)
	}
	return all, beyond
}

// snapshot returns the row counts of the database.
func (s *shop) snapshot() string {
	return fmt.Sprintf("orders %d, history %d, parked %d, dead letters %d", count(s.t, s.url, "orderflow.orders"),
		count(s.t, s.url, "pawl.transitions"), count(s.t, s.url, "pawl.parked"), count(s.t, s.url, "pawl.dead_letters"))
}

// finish runs a worker until the topic is consumed, and stops it.
func (s *shop) finish() {
	s.t.Helper()
	p := s.startProcess()
	s.await("consume the topic", s.isDone)
	s.signal(p)
	s.wait(p)
	if code := p.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the last worker exited with %d:\n%s", code, &p.stderr)
	}
	s.checkResult()
}

// undisturbed returns the snapshot after a worker consumes the same orders
// without being stopped.
func undisturbed(t *testing.T, orders int) string {
	t.Helper()
	s := openShop(t, orders)
	s.finish()
	return s.snapshot()
}

// TestSignalUnderLoad stops a busy worker: it finishes the current batch,
// commits exactly that, and leaves the group. The next worker does the rest.
func TestSignalUnderLoad(t *testing.T) {
	const orders = 5_000
	s := openShop(t, orders)
	p := s.startProcess("--max-batch=2000") // several batches, each far shorter than the grace period
	s.await("the worker's first commit", func() bool { return len(s.committed()) > 0 })
	signalled := time.Now()
	s.signal(p)
	s.wait(p)
	if took := time.Since(signalled); took > 8*time.Second {
		t.Errorf("the worker took %v to exit", took)
	}
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the worker exited with %d, want 0:\n%s", code, &p.stderr)
	}
	if n := s.members(); n != 0 {
		t.Errorf("the group still has %d members", n)
	}
	if s.isDone() {
		t.Fatal("the worker finished before the signal, so this run tests nothing")
	}
	committed := s.committed()
	for partition := range s.ends() {
		if _, beyond := s.offsetsKept(partition, max(0, committed[partition])); beyond > 0 {
			t.Errorf("partition %d: %d settled records are beyond the committed offset %d; a clean stop must commit everything it settled",
				partition, beyond, committed[partition])
		}
	}
	s.finish()
	if got, want := s.snapshot(), undisturbed(t, orders); got != want {
		t.Errorf("after a stop and a restart: %s; without: %s", got, want)
	}
}

// TestSecondSignal stops a worker that is blocked in the database: after the
// first signal it waits for the grace period, after the second it ends at once.
// It must not commit a record without a verdict, and the next worker must do
// all the work.
func TestSecondSignal(t *testing.T) {
	const orders = 300
	s := openShop(t, orders)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `LOCK TABLE orderflow.orders IN EXCLUSIVE MODE`); err != nil { // reads continue, writes wait
		t.Fatal(err)
	}
	p := s.startProcess()
	s.await("the worker to wait for the lock", func() (waits bool) {
		query(t, s.url, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)`, &waits)
		return waits
	})
	s.signal(p)
	select {
	case <-p.ended:
		t.Fatalf("the worker did not wait for its grace period after the first signal:\n%s", &p.stderr)
	case <-time.After(time.Second):
	}
	second := time.Now()
	s.signal(p)
	s.wait(p)
	if took := time.Since(second); took > 2*time.Second {
		t.Errorf("the worker took %v to exit after the second signal", took)
	}
	if status := p.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("the worker exited with %v, want death by the signal", p.ProcessState)
	}
	for partition, offset := range s.committed() {
		if offset > 0 {
			t.Errorf("partition %d is committed up to %d, but nothing is settled", partition, offset)
		}
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	s.finish()
	if got, want := s.snapshot(), undisturbed(t, orders); got != want {
		t.Errorf("after a kill and a restart: %s; without: %s", got, want)
	}
}
