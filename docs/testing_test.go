package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var testingBlock = regexp.MustCompile("(?s)```(go|text|json)\n(.*?)```")

// TestTesting runs the tests of testing.md, which are one file, and checks what the one that fails
// prints.
func TestTesting(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("testing.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := make(map[string]string)
	for _, parts := range testingBlock.FindAllStringSubmatch(string(page), -1) {
		blocks[parts[1]] += parts[2] + "\n"
	}
	// Build inside the module, to use the module's dependencies. The leading underscore
	// excludes the directory from ./...
	dir, err := os.MkdirTemp(".", "_testing") //nolint:usetesting // t.TempDir is outside the module
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(filepath.Join(dir, "testdata"), 0o700); err != nil {
		t.Fatal(err)
	}
	const last = `
func TestMain(m *testing.M) {
	m.Run()
	if err := pawltest.ClosePostgres(); err != nil {
		panic(err)
	}
}
`
	for name, text := range map[string]string{"shop_test.go": blocks["go"] + last, "testdata/history.jsonl": blocks["json"]} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.CommandContext(t.Context(), "go", "test", "-v", "-count=1", "./"+dir)
	out, err := run.CombinedOutput()
	if err == nil {
		t.Errorf("the mistake is not found:\n%s", out)
	}
	if got := strings.Count(string(out), "--- PASS: Test"); got != 7 || strings.Count(string(out), "--- FAIL: ") != 1 || !strings.Contains(string(out), "--- FAIL: TestMistake") {
		t.Errorf("%d tests pass, want 7, and only TestMistake fails:\n%s", got, out)
	}
	printed := string(regexp.MustCompile(`(?m)^ {8}`).ReplaceAll(out, nil)) // go test indents it
	if !strings.Contains(printed, strings.TrimSpace(blocks["text"])) {
		t.Errorf("the walk prints something else than the page says:\n%s", printed)
	}
}
