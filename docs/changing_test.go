package docs_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/internal/testenv"
)

var update = flag.Bool("update", false, "write the output of the commands into changing.md and replaying.md")

// changingBlock is a block of code of the page: its language and its text.
var changingBlock = regexp.MustCompile("(?s)```(go|console)\n(.*?)```")

// TestChanging runs the session of changing.md: it builds each version of the program with the
// machine of the page, runs the commands, and compares what they print.
func TestChanging(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("changing.md")
	if err != nil {
		t.Fatal(err)
	}
	s := session{t: t, dir: t.TempDir(), url: testenv.Postgres(t)}
	first := ""
	got := changingBlock.ReplaceAllStringFunc(string(page), func(block string) string {
		parts := changingBlock.FindStringSubmatch(block)
		if parts[1] == "go" {
			if s.machine = parts[2]; first == "" {
				first = s.machine
			}
			return block
		}
		return "```console\n" + s.run(parts[2]) + "```"
	})
	if machine, err := os.ReadFile("../examples/changing/machine.go"); err != nil || string(machine) != first {
		t.Errorf("the first machine of the page is not examples/changing/machine.go (-file, +page): %s %v", cmp.Diff(string(machine), first), err)
	}
	s.check("changing.md", string(page), got)
}

// A session is a terminal.
type session struct {
	t        *testing.T
	dir, url string
	env      []string
	machine  string // the current machine.go
	commands int
}

// check compares a page with the one that has the output of the commands, or replaces it.
func (s *session) check(name, page, got string) {
	s.t.Helper()
	if s.commands < 15 {
		s.t.Errorf("the page has only %d commands", s.commands)
	}
	if diff := cmp.Diff(page, got); diff != "" && !*update {
		s.t.Errorf("the commands print something else; run: go test ./docs -run %s -update\n(-page, +run):\n%s", s.t.Name(), diff)
	}
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// run runs the commands of a block and returns the block with their output.
func (s *session) run(block string) string {
	s.t.Helper()
	var all strings.Builder
	for line := range strings.Lines(block) {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		s.commands++
		all.WriteString(line)
		if name, ok := strings.CutPrefix(strings.TrimSpace(command), "go build -o "); ok {
			s.build(strings.TrimSuffix(name, " ."))
			continue
		}
		all.WriteString(s.command(command))
	}
	return all.String()
}

// command returns what a command prints, and its exit status if that is not 0.
func (s *session) command(line string) string {
	s.t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(s.t.Context(), "bash", "-c", line)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &out, &out
	cmd.Env = append(append(os.Environ(), "DATABASE_URL="+s.url), s.env...)
	if err := cmd.Run(); err != nil {
		out.WriteString(err.Error() + "\n")
	}
	return out.String()
}

// build builds the program with the current machine.
func (s *session) build(name string) {
	s.t.Helper()
	source, err := filepath.Abs("../examples/changing/machine.go")
	if err != nil {
		s.t.Fatal(err)
	}
	machine, overlay := filepath.Join(s.dir, "machine.go"), filepath.Join(s.dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{source: machine}})
	if err != nil {
		s.t.Fatal(err)
	}
	for file, text := range map[string][]byte{machine: []byte(s.machine), overlay: text} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	s.buildProgram("-overlay", overlay, "-o", filepath.Join(s.dir, name), "../examples/changing")
}

func (s *session) buildProgram(args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "go", append([]string{"build"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}
