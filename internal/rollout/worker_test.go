package rollout

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var migrated = testenv.Template("pawl", migrate.Up)

// jobVariable has a worker's job, as JSON, in the environment of its process.
const jobVariable = "PAWL_ROLLOUT_JOB"

func TestMain(m *testing.M) {
	if description := os.Getenv(jobVariable); description != "" {
		if err := runWorker(description); err != nil {
			fmt.Fprintln(os.Stderr, "the worker has stopped:", err)
			os.Exit(1)
		}
		return
	}
	testenv.Main(m, testenv.CheckLeaks())
}

// A job says what a worker's process does.
type job struct {
	Version           int
	Database          string
	Brokers           []string
	Group, Topic, Out string
	Session           time.Duration
	Rebalance         time.Duration
}

// The lines that a worker's process prints.
const (
	lineHandles = "handles signals"
	lineWorks   = "has settled a batch"
)

// runWorker is the process of a worker. It ends when it is signaled, or when its parent has
// ended.
func runWorker(description string) error {
	var j job
	if err := json.Unmarshal([]byte(description), &j); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Fprintln(os.Stdout, lineHandles)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent has ended
		os.Exit(1)
	}()
	pool, err := pgxpool.New(ctx, j.Database)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := openStore(ctx, pool, j.Version, j.Out)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	worker, err := consumer.New(consumer.Config{
		Client: []kgo.Opt{
			kgo.SeedBrokers(j.Brokers...), kgo.SessionTimeout(j.Session), kgo.HeartbeatInterval(j.Session / 6),
			kgo.RebalanceTimeout(j.Rebalance),
		},
		RebalanceHold: j.Rebalance / 2,
		Group:         j.Group, Topics: []string{j.Topic}, Store: store, Decode: decode,
		SweepEvery: 2 * time.Second, RetryMax: 500 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Hooks: []consumer.Hook{&firstBatch{}},
	})
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}

func openStore(ctx context.Context, pool *pgxpool.Pool, version int, out string) (*postgres.Store, error) {
	return postgres.Open(ctx, pool, postgres.Table{Machine: versions[version](out), Name: "crates"})
}

// firstBatch says when the worker has settled its first batch.
type firstBatch struct{ once sync.Once }

func (f *firstBatch) BatchEnd(context.Context, consumer.Batch) {
	f.once.Do(func() { fmt.Fprintln(os.Stdout, lineWorks) })
}

// decode returns the changes of a record.
func decode(r *versioning.Record) (changes []versioning.Change, err error) {
	var all []change
	if err := json.Unmarshal(r.Value, &all); err != nil {
		return nil, err
	}
	for _, c := range all {
		change := versioning.Change{Machine: machineName, Key: c.Key, Event: c.Event}
		if c.Weight != 0 {
			change.Data = cargo{c.Weight}
		}
		changes = append(changes, change)
	}
	return changes, nil
}

// A change is part of a record's value.
type change struct {
	Key    string             `json:"key"`
	Event  statemachine.Event `json:"event"`
	Weight int64              `json:"weight,omitempty"`
}

// A process is the process of a worker.
type process struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	stderr  bytes.Buffer  // read it only after the process has ended
	handles chan struct{} // closed when the process handles signals
	works   chan struct{} // closed when it has settled a batch
	ended   chan struct{}
}

func start(t *testing.T, j job) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	description, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self), handles: make(chan struct{}), works: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), jobVariable+"="+string(description))
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			switch lines.Text() {
			case lineHandles:
				close(p.handles)
			case lineWorks:
				close(p.works)
			}
		}
		_ = p.cmd.Wait() // ProcessState says how it ended
		close(p.ended)
	}()
	return p
}

// kill kills the process and returns whether that is how it ended.
func (p *process) kill() bool {
	_ = p.cmd.Process.Kill() // fails if it has ended
	<-p.ended
	_ = p.stdin.Close()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// stop stops the process as a deploy does, and returns its exit status.
func (p *process) stop() int {
	select {
	case <-p.handles:
	case <-p.ended:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-p.ended:
	case <-time.After(soon):
		p.kill()
	}
	_ = p.stdin.Close()
	return p.cmd.ProcessState.ExitCode()
}

// abort ends the process with the stacks of its goroutines in its log.
func (p *process) abort() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // fails if it has ended
	select {
	case <-p.ended:
	case <-time.After(soon):
	}
	p.kill()
}

// log returns what the process has logged, or the beginning of it.
func (p *process) log() string {
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	return strings.Join(lines[:min(len(lines), 5000)], "\n")
}
