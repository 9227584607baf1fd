// Package model_test keeps the model's links to the code true.
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

// TestLinks checks that every function that the model names is where it says.
func TestLinks(t *testing.T) {
	t.Parallel()
	model, err := os.ReadFile("pawl.pml")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`code: (\S+\.go) (\w+)`).FindAllSubmatch(model, -1)
	if len(links) < 20 {
		t.Fatalf("the model names %d functions only", len(links))
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

// functions returns the names of the functions and methods that a file declares.
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
