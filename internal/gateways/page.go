package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/pawl-go/pawl/internal/gateways/configs"
)

// page is the page that shows the configurations and tables, from the root of the
// repository.
const page = "docs/gateways.md"

// Each generated block of the page stands between two comments.
var block = regexp.MustCompile(`(?s)<!-- (table|config|versions) (\S+) -->\n.*?<!-- end -->\n`)

// measurePage measures everything on the page and returns the tables by the files of their
// proxies.
func measurePage(ctx context.Context) (map[string]table, error) {
	tables := make([]table, len(proxies))
	errs := make([]error, len(proxies))
	var wait sync.WaitGroup
	for i, p := range proxies {
		wait.Go(func() {
			if tables[i], errs[i] = measure(ctx, p, faults, requests); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", p.title, errs[i])
			}
		})
	}
	wait.Wait()
	named := make(map[string]table)
	for i, p := range proxies {
		named[p.file] = tables[i]
	}
	return named, errors.Join(errs...)
}

func (t table) markdown() string {
	var b strings.Builder
	b.WriteString("| the first arrival meets |")
	for _, r := range requests {
		fmt.Fprintf(&b, " %s |", r)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(requests)) + "\n")
	for i, f := range faults {
		fmt.Fprintf(&b, "| %s |", f.name)
		for j, o := range t[i] {
			cell := o.String()
			if o.effects > 1 && requests[j].method != "GET" {
				cell = "**" + cell + "**"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// fill returns the page with its blocks replaced.
func fill(text string, tables map[string]table, versions string) (string, error) {
	var missing []string
	filled := block.ReplaceAllStringFunc(text, func(old string) string {
		parts := block.FindStringSubmatch(old)
		kind, name := parts[1], parts[2]
		var content string
		switch t, ok := tables[name]; {
		case kind == "config":
			content = "```\n" + configs.Text(name) + "```\n"
		case kind == "versions":
			content = "Measured with " + versions + ".\n"
		case ok:
			content = t.markdown()
		default:
			missing = append(missing, name)
			return old
		}
		return fmt.Sprintf("<!-- %s %s -->\n\n%s\n<!-- end -->\n", kind, name, content)
	})
	if missing != nil {
		return "", fmt.Errorf("%s has tables that nobody measures: %s", page, strings.Join(missing, ", "))
	}
	return filled, nil
}
