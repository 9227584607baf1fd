// Gateways measures how often nginx, HAProxy and Go's http.Transport send one request, and
// how often it takes effect, when the server behind them fails in various ways. It prints
// the tables of docs/gateways.md.
//
//	go run ./internal/gateways            print the tables
//	go run ./internal/gateways -update    write them into the page
//
// It needs nginx and haproxy on the PATH.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	write := flag.Bool("update", false, "write the tables into "+page)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *write); err != nil {
		fmt.Fprintln(os.Stderr, "gateways:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, out io.Writer, write bool) error {
	version, err := versions(ctx)
	if err != nil {
		return err
	}
	tables, err := measurePage(ctx)
	if err != nil {
		return err
	}
	if write {
		return update(tables, version)
	}
	fmt.Fprintf(out, "%s\n", version)
	for _, p := range proxies {
		fmt.Fprintf(out, "\n%s:\n\n%s", p.title, tables[p.file].markdown())
	}
	return nil
}

// update writes the tables into the page.
func update(tables map[string]table, versions string) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	filled, err := fill(string(old), tables, versions)
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(filled), 0o644) //nolint:gosec // a page of the repository
}
