package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A server is a process that a script in .ci starts and stops. It can be
// killed, and restarted on the same data.
type server struct {
	script  string
	dir     string
	address string // host:port, after it has started
	pidFile string
	signal  syscall.Signal // signal that kills it
}

func newKafka(scripts, dir string) *server {
	dir = filepath.Join(dir, "kafka")
	return &server{
		script: filepath.Join(scripts, "kafka"), dir: dir,
		pidFile: filepath.Join(dir, "kafka.pid"),
		signal:  syscall.SIGKILL,
	}
}

var addressOf = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// start starts the server, at the same address as before.
func (s *server) start() error {
	args := []string{"start", s.dir}
	if _, port, ok := strings.Cut(s.address, ":"); ok {
		args = append(args, port)
	}
	cmd := exec.Command(s.script, args...) //nolint:noctx // the project's own script; it has its own deadlines
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", s.script, strings.Join(args, " "), err, said.Bytes())
	}
	s.address = string(addressOf.Find(out))
	return nil
}

func (s *server) stop() error {
	if out, err := exec.Command(s.script, "stop", s.dir).CombinedOutput(); err != nil { //nolint:noctx // as above
		return fmt.Errorf("%s stop: %w\n%s", s.script, err, out)
	}
	return nil
}

// kill ends the server at once.
func (s *server) kill() error {
	text, err := os.ReadFile(s.pidFile)
	if err != nil {
		return fmt.Errorf("kill %s: %w", s.script, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return fmt.Errorf("kill %s: read its pid: %w", s.script, err)
	}
	if err := syscall.Kill(pid, s.signal); err != nil {
		return fmt.Errorf("kill %s: %w", s.script, err)
	}
	for deadline := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil; {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d of %s still exists 20 s after it was killed", pid, s.script)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// lag returns how many records of a topic a group has not committed. It does not ask for the
// group's members, because that depends on the group's protocol.
func lag(ctx context.Context, broker, group, topic string) (n int, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return 0, fmt.Errorf("read the group's offsets: %w", err)
	}
	defer client.Close()
	committed, err := kadm.NewClient(client).FetchOffsets(ctx, group)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("read the group's offsets: %w", err)
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("read the ends of topic %s: %w", topic, err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		at, _ := committed.Lookup(topic, end.Partition)
		n += int(end.Offset - max(at.At, 0))
	})
	return n, nil
}

func makeTopics(ctx context.Context, broker string, partitions int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return fmt.Errorf("create the topics: %w", err)
	}
	defer client.Close()
	topics := []string{announced}
	for _, t := range tenants {
		topics = append(topics, t.topic())
	}
	for _, topic := range topics {
		if _, err := kadm.NewClient(client).CreateTopic(ctx, int32(partitions), 1, nil, topic); err != nil {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
	}
	return nil
}
