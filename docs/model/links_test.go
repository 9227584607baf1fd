// Package model_test checks the model's references to the code.
package model_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestLinks checks that every function the model names exists in that file.
func TestLinks(t *testing.T) {
	t.Parallel()
	model, err := os.ReadFile("pawl.pml")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`code: (\S+\.go) (\w+)`).FindAllSubmatch(model, -1)
	if len(links) < 20 {
		t.Fatalf("the model names only %d functions", len(links))
	}
	files := make(map[string]map[string]bool)
	for _, link := range links {
		file, function := string(link[1]), string(link[2])
		if files[file] == nil {
			files[file] = functions(t, filepath.Join("..", "..", file))
		}
		if !files[file][function] {
			t.Errorf("%s has no function %s", file, function)
		}
	}
}

// functions returns the names of the functions and methods declared in a file.
func functions(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			names[f.Name.Name] = true
		}
	}
	return names
}
