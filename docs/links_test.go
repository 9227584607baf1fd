// Package docs_test checks what a program can check of the pages in this directory and at
// the top of the repository.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode"
)

var (
	fence    = regexp.MustCompile("(?s)\n *```.*?\n *```")
	link     = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	code     = regexp.MustCompile("^`([A-Za-z_][A-Za-z0-9_.]*)`$")
	testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark|Example)[A-Z]\\w*)`")
)

// pages returns the paths of the pages.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	top, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".md" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(paths, top...)
}

// prose returns a page without its blocks of code.
func prose(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fence.ReplaceAllString(string(text), "")
}

// TestLinks checks the relative links of all pages: the file exists, a page has the
// heading, and a Go file declares the name that is the text of the link, as in
// [`Store.Apply`](../versioning/postgres/apply.go).
func TestLinks(t *testing.T) {
	t.Parallel()
	names := 0
	for _, page := range pages(t) {
		for _, l := range link.FindAllStringSubmatch(prose(t, page), -1) {
			text, target := l[1], l[2]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			path := filepath.Join(filepath.Dir(page), file)
			if file == "" {
				path = page
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: link to %s: %v", page, target, err)
				continue
			}
			if anchor != "" && !hasHeading(t, path, anchor) {
				t.Errorf("%s: link to %s: the page has no such heading", page, target)
			}
			name := code.FindStringSubmatch(text)
			if name == nil || filepath.Ext(path) != ".go" || filepath.Ext(name[1]) == ".go" {
				continue
			}
			names++
			if !declarations(t, path)[name[1]] {
				t.Errorf("%s: %s does not declare %s", page, target, name[1])
			}
		}
	}
	if names < 50 {
		t.Errorf("the pages name only %d declarations", names)
	}
}

// TestNamedTests checks that pages link to the tests that they name, so that TestLinks
// checks that these exist.
func TestNamedTests(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		text := link.ReplaceAllString(prose(t, page), "")
		for _, name := range testName.FindAllStringSubmatch(text, -1) {
			t.Errorf("%s names %s without a link to its file", page, name[1])
		}
	}
}

// hasHeading reports whether a page has a heading with an anchor, as GitHub makes it.
func hasHeading(t *testing.T, path, anchor string) bool {
	t.Helper()
	for _, h := range heading.FindAllStringSubmatch(prose(t, path), -1) {
		id := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, h[1])
		if id == anchor {
			return true
		}
	}
	return false
}

var (
	parsing sync.Mutex
	parsed  = make(map[string]map[string]bool)
)

// declarations returns the names that a Go file declares: functions and constants as
// Name and package.Name, methods and fields as Type.Name.
func declarations(t *testing.T, path string) map[string]bool {
	t.Helper()
	parsing.Lock()
	defer parsing.Unlock()
	if names, ok := parsed[path]; ok {
		return names
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	add := func(name string) { names[name], names[file.Name.Name+"."+name] = true, true }
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(d.Name.Name)
			} else {
				names[typeName(d.Recv.List[0].Type)+"."+d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				addSpec(spec, add)
			}
		}
	}
	parsed[path] = names
	return names
}

// addSpec adds the names of constants and variables, or of a type with its fields or
// methods.
func addSpec(spec ast.Spec, add func(string)) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range s.Names {
			add(name.Name)
		}
	case *ast.TypeSpec:
		add(s.Name.Name)
		var members *ast.FieldList
		switch of := s.Type.(type) {
		case *ast.StructType:
			members = of.Fields
		case *ast.InterfaceType:
			members = of.Methods
		default:
			return
		}
		for _, member := range members.List {
			for _, name := range member.Names {
				add(s.Name.Name + "." + name.Name)
			}
		}
	}
}

// typeName returns the name of a receiver's type.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
