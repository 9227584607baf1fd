// Package entrypoints checks that each exported function and method of the public packages
// is shown by an example that runs.
package entrypoints

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/doc"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	// go test runs this test again when what it imports changes, and knows nothing of
	// what go list reads.
	_ "github.com/pawl-go/pawl/check"
	_ "github.com/pawl-go/pawl/cli"
	_ "github.com/pawl-go/pawl/codec"
	_ "github.com/pawl-go/pawl/consumer"
	_ "github.com/pawl-go/pawl/gateway"
	_ "github.com/pawl-go/pawl/gateway/gatewaytest"
	_ "github.com/pawl-go/pawl/gateway/postgres"
	_ "github.com/pawl-go/pawl/migrations"
	_ "github.com/pawl-go/pawl/migrations/migrate"
	_ "github.com/pawl-go/pawl/pawltest"
	_ "github.com/pawl-go/pawl/relay"
	_ "github.com/pawl-go/pawl/replay"
	_ "github.com/pawl-go/pawl/statemachine"
	_ "github.com/pawl-go/pawl/versioning"
	_ "github.com/pawl-go/pawl/versioning/postgres"
	_ "github.com/pawl-go/pawl/versioning/versioningtest"
)

const pawl = "github.com/pawl-go/pawl"

// A listed is a package as go list describes it.
type listed struct {
	ImportPath   string
	Name         string
	Dir          string
	Export       string // the file with its types
	GoFiles      []string
	XTestGoFiles []string // the files of its external test package
}

// TestEntryPointsHaveExamples checks that an example with an Output comment, in the tests of
// the same package, uses each entry point. A function that needs a *testing.T can't have
// output; it needs an example that compiles.
func TestEntryPointsHaveExamples(t *testing.T) {
	t.Parallel()
	public := slices.DeleteFunc(list(t, pawl+"/..."), func(p listed) bool {
		return len(p.GoFiles) == 0 || p.Name == "main" ||
			strings.Contains(p.ImportPath, "/internal/") || strings.Contains(p.ImportPath, "/examples/")
	})
	if len(public) < 7 {
		t.Fatalf("only %d public packages: %v", len(public), public)
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", exports(t, public))
	for _, p := range public {
		pkg, err := imports.Import(p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		run, compiled := shown(t, fset, imports, p)
		for _, f := range entryPoints(pkg) {
			if isShown := run[f] || compiled[f] && needsTest(f); !isShown {
				t.Errorf("no example with an Output comment uses %s", f.FullName())
			}
		}
	}
}

// list returns what go list says about packages.
func list(t *testing.T, args ...string) (packages []listed) {
	t.Helper()
	const fields = "-json=ImportPath,Name,Dir,Export,GoFiles,XTestGoFiles"
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", fields}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(out); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return packages
}

// exports returns a function that opens the types of a package that the public packages or
// their tests import.
func exports(t *testing.T, public []listed) func(path string) (io.ReadCloser, error) {
	t.Helper()
	args := []string{"-export", "-deps", "-test"}
	for _, p := range public {
		args = append(args, p.ImportPath)
	}
	files := make(map[string]string)
	for _, p := range list(t, args...) {
		files[p.ImportPath] = p.Export
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

// entryPoints returns the exported functions of a package and the exported methods of its
// exported types, except those that are called through an interface of the standard library.
func entryPoints(pkg *types.Package) (all []*types.Func) {
	for _, name := range pkg.Scope().Names() {
		switch o := pkg.Scope().Lookup(name).(type) {
		case *types.Func:
			all = append(all, o)
		case *types.TypeName:
			if named, ok := o.Type().(*types.Named); ok && o.Exported() && !o.IsAlias() {
				all = slices.AppendSeq(all, named.Methods())
			}
		}
	}
	return slices.DeleteFunc(all, func(f *types.Func) bool {
		switch name := f.Name(); name {
		case "String", "GoString", "Error", "Unwrap", "Is", "As":
			return f.Signature().Recv() != nil
		default:
			return !f.Exported() || strings.HasPrefix(name, "Marshal") || strings.HasPrefix(name, "Unmarshal")
		}
	})
}

// shown returns the functions that the examples of a package use: those of the examples
// that run, and of all.
func shown(t *testing.T, fset *token.FileSet, imports types.Importer, p listed) (run, compiled map[types.Object]bool) {
	t.Helper()
	var files []*ast.File
	for _, name := range p.XTestGoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	// What the package's internal tests export is undefined here; the compiler finds the
	// other errors.
	config := types.Config{Importer: imports, Error: func(error) {}}
	_, _ = config.Check(p.ImportPath+"_test", fset, files, info)
	run, compiled = make(map[types.Object]bool), make(map[types.Object]bool)
	for _, example := range doc.Examples(files...) {
		ast.Inspect(example.Code, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				if f, ok := info.Uses[id].(*types.Func); ok {
					compiled[f.Origin()] = true
					run[f.Origin()] = run[f.Origin()] || example.Output != "" || example.EmptyOutput
				}
			}
			return true
		})
	}
	return run, compiled
}

// needsTest reports whether a function has a parameter of type *testing.T.
func needsTest(f *types.Func) bool {
	for v := range f.Signature().Params().Variables() {
		if types.TypeString(v.Type(), nil) == "*testing.T" {
			return true
		}
	}
	return false
}
