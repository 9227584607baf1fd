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

// A shop is a worker's servers with orders on the topic, and what a test needs
// to look at them.
type shop struct {
	t            *testing.T
	brokers, url string
	client       *kgo.Client
}

// openShop puts the traffic of some orders on the topic.
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

// kept are the records of a partition that the database knows, by offset: those
// in the history, the parked ones and the dead letters.
const kept = `SELECT "offset" FROM pawl.transitions WHERE partition = $1
	UNION SELECT "offset" FROM pawl.parked WHERE partition = $1
	UNION SELECT "offset" FROM pawl.dead_letters WHERE partition = $1`

// committed returns the offset of each partition that the group has committed.
func (s *shop) committed() map[int32]int64 {
	s.t.Helper()
	offsets, err := kadm.NewClient(s.client).FetchOffsets(s.t.Context(), "order-workers")
	committed := make(map[int32]int64)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return committed // nothing was ever committed
	}
	if err != nil {
		s.t.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) { committed[o.Partition] = o.At })
	return committed
}

// ends returns where each partition ends.
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

// members returns how many workers the group has.
func (s *shop) members() int {
	s.t.Helper()
	groups, err := kadm.NewClient(s.client).DescribeGroups(s.t.Context(), "order-workers")
	if err != nil {
		s.t.Fatal(err)
	}
	return len(groups["order-workers"].Members)
}

// isDone tells whether the group has committed all that is on the topic.
func (s *shop) isDone() bool {
	committed := s.committed()
	for partition, end := range s.ends() {
		if end > 0 && committed[partition] != end {
			return false
		}
	}
	return true
}

// await polls until check is true.
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
			s.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// A process is a worker in a process of its own.
type process struct {
	*exec.Cmd

	stderr bytes.Buffer // not to be read before it has ended
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
		_ = p.Wait() // ProcessState tells how it ended
	}()
	return p
}

// signal asks a process to end, and the test waits for nothing.
func (s *shop) signal(p *process) {
	s.t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
}

// wait waits for the end of a process.
func (s *shop) wait(p *process) {
	s.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		s.t.Fatal("the worker's process goes on")
	}
}

// checkBooks checks that nothing was lost and nothing applied twice: each order
// is where a worker without any trouble would have left it.
func (s *shop) checkBooks() {
	s.t.Helper()
	var twice, astray int
	query(s.t, s.url, `SELECT count(*) FROM (SELECT FROM pawl.transitions GROUP BY machine, entity, message_id HAVING count(*) > 1) AS d`, &twice)
	query(s.t, s.url, `SELECT count(*) FROM orderflow.orders AS o WHERE version <> (SELECT count(*) FROM pawl.transitions WHERE entity = o.id)`, &astray)
	if twice+astray > 0 {
		s.t.Errorf("%d messages were applied twice, %d orders have steps without a history", twice, astray)
	}
}

// offsetsKept returns how many records of a partition the database knows, and how
// many of them at or beyond an offset.
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

// snapshot tells how many of everything the database has.
func (s *shop) snapshot() string {
	return fmt.Sprintf("orders %d, history %d, parked %d, dead letters %d", count(s.t, s.url, "orderflow.orders"),
		count(s.t, s.url, "pawl.transitions"), count(s.t, s.url, "pawl.parked"), count(s.t, s.url, "pawl.dead_letters"))
}

// finish runs a worker until all is done, and stops it.
func (s *shop) finish() {
	s.t.Helper()
	p := s.startProcess()
	s.await("the topic is consumed", s.isDone)
	s.signal(p)
	s.wait(p)
	if code := p.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the worker that finishes ends with %d:\n%s", code, &p.stderr)
	}
	s.checkBooks()
}

// undisturbed returns what a worker that nobody stops makes of the same orders.
func undisturbed(t *testing.T, orders int) string {
	t.Helper()
	s := openShop(t, orders)
	s.finish()
	return s.snapshot()
}

// TestSignalUnderLoad stops a worker in the middle of its work: it finishes the
// batch in hand, commits exactly that, and leaves. The next one does the rest.
func TestSignalUnderLoad(t *testing.T) {
	const orders = 5000
	s := openShop(t, orders)
	p := s.startProcess()
	s.await("a worker that is in the middle of it", func() bool { return len(s.committed()) > 0 })
	signalled := time.Now()
	s.signal(p)
	s.wait(p)
	if took := time.Since(signalled); took > 8*time.Second {
		t.Errorf("the worker took %v to end", took)
	}
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the worker ends with %d, want 0:\n%s", code, &p.stderr)
	}
	if n := s.members(); n != 0 {
		t.Errorf("the group still has %d members", n)
	}
	if s.isDone() {
		t.Fatal("the worker was done before it was stopped: this tests nothing")
	}
	committed := s.committed()
	for partition := range s.ends() {
		if _, beyond := s.offsetsKept(partition, max(0, committed[partition])); beyond > 0 {
			t.Errorf("partition %d: %d records beyond the committed offset %d are settled: a clean stop commits all that it has done",
				partition, beyond, committed[partition])
		}
	}
	s.finish()
	if got, want := s.snapshot(), undisturbed(t, orders); got != want {
		t.Errorf("after a stop and a restart: %s; without: %s", got, want)
	}
}

// TestSecondSignal stops a worker whose database blocks it: the first signal
// lets it wait for the grace, the second one ends it at once. Nothing without a
// verdict was committed, and the next worker does it all.
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
	if _, err := tx.Exec(ctx, `LOCK TABLE orderflow.orders IN EXCLUSIVE MODE`); err != nil { // reads go on, writes wait
		t.Fatal(err)
	}
	p := s.startProcess()
	s.await("a worker that waits for the lock", func() (waits bool) {
		query(t, s.url, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)`, &waits)
		return waits
	})
	s.signal(p)
	select {
	case <-p.ended:
		t.Fatalf("the first signal did not leave the worker its grace:\n%s", &p.stderr)
	case <-time.After(time.Second):
	}
	second := time.Now()
	s.signal(p)
	s.wait(p)
	if took := time.Since(second); took > 2*time.Second {
		t.Errorf("the worker took %v to end after the second signal", took)
	}
	if status := p.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("the worker ended with %v, want by the signal", p.ProcessState)
	}
	for partition, offset := range s.committed() {
		if offset > 0 {
			t.Errorf("partition %d was committed up to %d, and nothing is settled", partition, offset)
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
