package deps

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestKernelHasNoGoroutines checks that statemachine and versioning start no goroutines:
// the caller owns concurrency. Linters keep out the packages sync, net and os, and the
// clock, but none of ours finds a go statement.
func TestKernelHasNoGoroutines(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"statemachine", "versioning"} {
		files, err := filepath.Glob(filepath.Join("..", "..", name, "*.go"))
		if err != nil || len(files) < 10 {
			t.Fatalf("%s has the files %v, %v", name, files, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n.(type) {
				case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType:
					t.Errorf("%s: package %s has no goroutines and no channels", set.Position(n.Pos()), name)
				}
				return true
			})
		}
	}
}
