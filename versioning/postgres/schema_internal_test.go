package postgres

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestStatementsHaveTheirType checks that every statement about the framework's tables
// is a pawlSQL, so that it can't be sent for the wrong schema.
func TestStatementsHaveTheirType(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\bpawl\.[a-z]`)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				typ, ok := n.Type.(*ast.Ident)
				return !ok || typ.Name != "pawlSQL"
			case *ast.BasicLit:
				if named.MatchString(n.Value) {
					t.Errorf("%s: text that names the schema is not a pawlSQL: %.60s", set.Position(n.Pos()), n.Value)
				}
			}
			return true
		})
	}
}
