package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestApply(t *testing.T) {
	t.Parallel()
	m := mutation{file: "f.go", text: "a < b", mutated: "a <= b"}
	if got, err := m.apply("if a < b {"); got != "if a <= b {" || err != nil {
		t.Errorf("apply = %q, %v", got, err)
	}
	for _, source := range []string{"if a > b {", "a < b && a < b"} {
		if got, err := m.apply(source); err == nil || !strings.Contains(err.Error(), "stale") {
			t.Errorf("apply to %q = %q, %v; want an error that says stale", source, got, err)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	all := []mutation{{file: "a.go", why: "one"}, {file: "b.go", why: "two"}}
	if chosen, err := choose(all, "a.go|two"); len(chosen) != 2 || err != nil {
		t.Errorf("choose = %v, %v; want both", chosen, err)
	}
	for _, pattern := range []string{"three", "("} {
		if chosen, err := choose(all, pattern); err == nil {
			t.Errorf("choose %q = %v, want an error", pattern, chosen)
		}
	}
}

func TestReadEvents(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		events []string
		want   results
	}{
		"pass": {
			[]string{`{"Action":"run","Test":"TestA"}`, `{"Action":"pass","Test":"TestA"}`, `{"Action":"output","Output":"ok\n"}`, `{"Action":"pass"}`},
			results{ran: 1, output: "ok\n"},
		},
		"a subtest fails": {
			[]string{
				`{"Action":"run","Test":"TestA"}`, `{"Action":"run","Test":"TestA/b"}`, `{"Action":"output","Test":"TestA/b","Output":"wrong\n"}`,
				`{"Action":"fail","Test":"TestA/b"}`, `{"Action":"fail","Test":"TestA"}`, `{"Action":"fail"}`,
			},
			results{ran: 1, failed: []string{"TestA"}},
		},
		"a test does not end": {
			[]string{`{"Action":"run","Test":"TestA"}`, `{"Action":"run","Test":"TestB"}`, `{"Action":"skip","Test":"TestA"}`, `{"Action":"fail"}`},
			results{ran: 2, failed: []string{"TestB"}, skipped: []string{"TestA"}},
		},
		"it does not compile": {
			[]string{`{"Action":"build-output","Output":"syntax error\n"}`, `{"Action":"build-fail"}`, `{"Action":"fail"}`},
			results{compileError: true, output: "syntax error\n"},
		},
		"nothing": {nil, results{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readEvents([]byte(strings.Join(tt.events, "\n")))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(results{})); diff != "" {
				t.Errorf("results (-want, +got):\n%s", diff)
			}
		})
	}
	if got, err := readEvents([]byte("go: no such flag")); err == nil {
		t.Errorf("readEvents of text = %v, want an error", got)
	}
}

// TestTexts checks that each mutation changes its text and has a reason. Planting a
// mutation checks that its text is still in the source.
func TestTexts(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, m := range mutations {
		id := m.file + ": " + m.text
		if m.text == "" || m.text == m.mutated || m.why == "" || m.pkg == "" || m.tests == "" || seen[id] {
			t.Errorf("%s is incomplete or there twice: %+v", id, m)
		}
		seen[id] = true
	}
}

// TestCheckCompiles builds a package with mutations, of which one does not compile and two are
// in each other's way.
func TestCheckCompiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module m\n\ngo 1.26\n", "f.go": "package m\n\nfunc f(a, b int) bool { return a < b }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOWORK", "off")
	less, name := mutation{file: "f.go", text: "a < b", mutated: "a <= b"}, mutation{file: "f.go", text: "return a <", mutated: "return b >"}
	if err := checkCompiles(t.Context(), t.TempDir(), []mutation{less, name}); err != nil {
		t.Error(err)
	}
	wrong := mutation{file: "f.go", text: "bool", mutated: "string", why: "another type"}
	err := checkCompiles(t.Context(), t.TempDir(), []mutation{less, wrong, name})
	if err == nil || !strings.Contains(err.Error(), "another type") || strings.Contains(err.Error(), "<=") {
		t.Errorf("checkCompiles = %v, want an error about one mutation", err)
	}
}
