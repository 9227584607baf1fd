package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
)

// What is another one in each run.
var (
	replayTook    = regexp.MustCompile(` in [0-9.]+m?s\n`)
	replayedBlock = regexp.MustCompile("(?s)```console\n(.*?)```")
)

// TestReplaying runs the session of replaying.md, and compares what the commands print.
func TestReplaying(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("replaying.md")
	if err != nil {
		t.Fatal(err)
	}
	topic := testenv.Topic(t, 1)
	s := session{t: t, dir: t.TempDir(), url: testenv.Postgres(t), env: []string{
		"TOPIC=" + topic, "KAFKA_BROKERS=" + strings.Join(testenv.Brokers(t), ","),
	}}
	s.buildProgram("-o", filepath.Join(s.dir, "shop"), "../examples/replaying")
	got := replayedBlock.ReplaceAllStringFunc(string(page), func(block string) string {
		out := s.run(replayedBlock.FindStringSubmatch(block)[1])
		out = replayTook.ReplaceAllString(strings.ReplaceAll(out, topic, "orders"), " in 0.1s\n")
		return "```console\n" + out + "```"
	})
	s.check("replaying.md", string(page), got)
}
