package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A member is a worker's slot: its links and its current process. Hold mu to do
// anything to the process.
type member struct {
	job      job
	database link
	broker   link
	log      *os.File
	progress *progress
	exited   func(error) // called when a process exits without being killed
	ended    func(client string)

	mu      sync.Mutex
	process *process
}

// A process is a worker's process.
type process struct {
	cmd      *exec.Cmd
	stdin    io.Closer
	ready    chan struct{} // closed after its first line of output; from then on it handles signals
	expected chan struct{} // closed before it is killed or stopped
	ended    chan struct{}
	err      error // how it exited
}

func (n *network) member(name, dir string, database *database, kafka *server) (*member, error) {
	m := &member{}
	var err error
	if m.database, err = n.link(name+"-postgres", database.address()); err != nil {
		return nil, err
	}
	if m.broker, err = n.link(name+"-kafka", kafka.address); err != nil {
		return nil, err
	}
	if m.log, err = os.Create(filepath.Join(dir, name+".log")); err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	m.job = job{Name: name, Broker: m.broker.Listen, DatabaseURL: database.url(m.database.Listen)}
	return m, nil
}

// start starts the member's process.
func (m *member) start() error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("worker %s: %w", m.job.Name, err)
	}
	description, err := json.Marshal(m.job)
	if err != nil {
		return fmt.Errorf("worker %s: %w", m.job.Name, err)
	}
	cmd := exec.Command(program) //nolint:noctx // this program; kill and stop end the process
	cmd.Env = append(os.Environ(), jobVariable+"="+string(description))
	cmd.Stderr = m.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("worker %s: %w", m.job.Name, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("worker %s: %w", m.job.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("worker %s: %w", m.job.Name, err)
	}
	p := &process{cmd: cmd, stdin: stdin, ready: make(chan struct{}), expected: make(chan struct{}), ended: make(chan struct{})}
	m.process = p
	go m.watch(p, stdout)
	return nil
}

// watch reads a process's reports until it exits.
func (m *member) watch(p *process, stdout io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(stdout)
	for first := true; lines.Scan(); first = false {
		if first {
			close(p.ready)
		}
		var rep report
		if json.Unmarshal(lines.Bytes(), &rep) == nil { // a killed process may leave a partial line
			m.progress.settled(m.job.Name, rep)
		}
	}
	p.err = p.cmd.Wait()
	m.ended(riverClient(m.job.Name, p.cmd.Process.Pid))
	select {
	case <-p.expected:
	default:
		m.exited(fmt.Errorf("worker %s exited unexpectedly: %w", m.job.Name, orClean(p.err)))
	}
}

var errClean = errors.New("exit status 0")

func orClean(err error) error {
	if err == nil {
		return errClean
	}
	return err
}

// kill kills the process, as kill -9 does.
func (m *member) kill() {
	close(m.process.expected)
	_ = m.process.cmd.Process.Kill() // fails only if it has already exited
	<-m.process.ended
	_ = m.process.stdin.Close()
}

// stop sends SIGTERM to the process and returns an error if it does not exit
// cleanly.
func (m *member) stop(within time.Duration) error {
	select {
	case <-m.process.ready:
	case <-m.process.ended:
	}
	close(m.process.expected)
	if err := m.signal(syscall.SIGTERM); err != nil {
		return err
	}
	defer m.process.stdin.Close()
	select {
	case <-m.process.ended:
	case <-time.After(within):
		_ = m.process.cmd.Process.Signal(syscall.SIGQUIT) // dumps its goroutines to its log
		<-m.process.ended
		return fmt.Errorf("worker %s: still running %v after SIGTERM", m.job.Name, within)
	}
	if m.process.err != nil {
		return fmt.Errorf("worker %s: SIGTERM: %w", m.job.Name, m.process.err)
	}
	return nil
}

func (m *member) signal(s syscall.Signal) error {
	if err := m.process.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("worker %s: %v: %w", m.job.Name, s, err)
	}
	return nil
}
