package docs_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
)

// tutorialBlock is a block of the page: the name of a file that is written before it, if any, its
// language and its text.
var tutorialBlock = regexp.MustCompile("(?s)(?:`([a-z_]+\\.go)`[^\n]*:\n\n)?```(go|console)\n(.*?)```")

// TestTutorial goes through tutorial.md in an empty folder: it writes the files, runs the commands in
// one shell, and compares what they print. It takes the modules from this repository.
func TestTutorial(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newShell(t)
	got := tutorialBlock.ReplaceAllStringFunc(string(page), func(block string) string {
		parts := tutorialBlock.FindStringSubmatch(block)
		file, language, text := parts[1], parts[2], parts[3]
		if language == "console" {
			return strings.TrimSuffix(block, text+"```") + s.run(text) + "```"
		}
		if file == "" {
			t.Errorf("a block of Go code has no file name:\n%s", text)
		}
		s.write(file, text)
		return block
	})
	if *update {
		if err := os.WriteFile("tutorial.md", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(withoutTimes(string(page)), withoutTimes(got)); diff != "" {
		t.Errorf("the commands print something else; run: go test ./docs -run %s -update\n(-page, +run):\n%s", t.Name(), diff)
	}
}

// A shell is a bash that stays, so that it knows its jobs and its directory.
type shell struct {
	*testing.T

	dir    string // in which the page begins
	port   string // that takes the place of 8080
	in     io.Writer
	out    *bufio.Reader
	number int
}

func newShell(t *testing.T) *shell {
	t.Helper()
	_, port, _ := net.SplitHostPort(testenv.FreeAddress(t))
	kafka, err := embedded.StartKafka(embedded.KafkaConfig{}) // for itself, because the page names the topics
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Close() })
	s := &shell{T: t, dir: t.TempDir(), port: port}
	cmd := exec.CommandContext(t.Context(), "bash", "--norc")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "DATABASE_URL="+testenv.Postgres(t), "KAFKA_BROKERS="+strings.Join(kafka.Brokers(), ","), "GOWORK=off", "GOFLAGS=-mod=mod")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.in, s.out = stdin, bufio.NewReader(stdout)
	t.Cleanup(func() {
		_, _ = io.WriteString(stdin, "kill $(jobs -p) 2>/dev/null; wait; exit\n")
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait() // the status is that of the last command
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.dir, "shop", "worker.log"))
			t.Logf("worker.log:\n%s", log)
		}
	})
	return s
}

// write writes a file of the program.
func (s *shell) write(name, text string) {
	s.Helper()
	text = strings.ReplaceAll(text, "localhost:8080", "localhost:"+s.port)
	if err := os.WriteFile(filepath.Join(s.dir, "shop", name), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

// run runs the commands of a block, and returns the block with their output. The worker takes a
// moment for what was sent to it, so commands that only look are repeated until they print what is on
// the page.
func (s *shell) run(block string) string {
	s.Helper()
	var all strings.Builder
	for part := range strings.SplitSeq(strings.TrimPrefix(block, "$ "), "\n$ ") {
		command, want, _ := strings.Cut(part, "\n")
		want = strings.TrimSuffix(want, "\n")
		var got string
		looks := strings.HasPrefix(command, "go tool pawl ") || strings.HasPrefix(command, "curl ")
		for deadline := time.Now().Add(20 * time.Second); ; {
			got = strings.TrimSuffix(s.command(command), "\n")
			if !looks || time.Now().After(deadline) || !*update && withoutTimes(got) == withoutTimes(want) {
				break
			}
			if *update {
				deadline = time.Now().Add(-time.Second)
			}
			time.Sleep(time.Second) //nolint:forbidigo // between two looks
		}
		all.WriteString("$ " + command + "\n")
		if got != "" {
			all.WriteString(got + "\n")
		}
	}
	return all.String()
}

// command runs a command and returns what it prints.
func (s *shell) command(command string) string {
	s.Helper()
	command = strings.ReplaceAll(command, "localhost:8080", "localhost:"+s.port)
	if strings.HasPrefix(command, "go get ") {
		command = s.local(command)
	}
	s.number++
	mark := fmt.Sprintf("--- end of command %d: ", s.number)
	if _, err := fmt.Fprintf(s.in, "%s\necho '%s'$?\n", command, mark); err != nil {
		s.Fatal(err)
	}
	var out strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.Fatalf("%s: %v\n%s", command, err, out.String())
		}
		if before, status, ok := strings.Cut(line, mark); ok {
			out.WriteString(before)
			if command == "go mod tidy" {
				out.Reset() // what it finds and downloads is of no interest
			}
			if strings.TrimSpace(status) != "0" {
				s.Errorf("%s: exit status %s\n%s", command, status, out.String())
			}
			return out.String()
		}
		if !strings.HasPrefix(line, "go: downloading ") {
			out.WriteString(line)
		}
	}
}

// local returns a command that takes the modules of a go get from this repository. go mod tidy
// finds their dependencies later.
func (s *shell) local(command string) string {
	s.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		s.Fatal(err)
	}
	edit := "go mod edit"
	if tool, ok := strings.CutPrefix(command, "go get -tool "); ok {
		return edit + " -tool " + tool
	}
	for module := range strings.FieldsSeq(strings.TrimPrefix(command, "go get ")) {
		edit += fmt.Sprintf(" -require=%s@v0.0.0 -replace=%[1]s=%s", module, filepath.Join(root, strings.TrimPrefix(module, "github.com/pawl-go/pawl")))
	}
	return edit
}

var times = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S*|\b\d+(\.\d+)? ?(ms|s|min|h)( ago)?\b|\bnow\b|just now|in \d+ (days|d)\b|\b\d+ d \d+ h\b|localhost:\d+`)

// withoutTimes returns a text without what differs in each run.
func withoutTimes(text string) string {
	text = times.ReplaceAllString(text, "T")
	return regexp.MustCompile(`[ \t]+|-{3,}`).ReplaceAllString(text, " ")
}
