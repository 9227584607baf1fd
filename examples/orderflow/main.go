// Command orderflow is a complete order worker, to start one's own from, and a
// demo of what it withstands.
//
//	go run ./examples/orderflow            the demo; needs nothing set up
//	go run ./examples/orderflow worker     one worker, on your servers
//	go run ./examples/orderflow --help     all commands
//
// The worker is order.go, decode.go, worker.go and migrate.go, in this order.
// The folder internal holds what only the demo needs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run is main with an exit status: 1 for a failure, 130 for a Ctrl-C that cut
// something short, as shells have it.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the first signal asks, a second one ends the process at once

	err := rootCommand().ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "orderflow: interrupted")
		return 130
	}
	fmt.Fprintln(os.Stderr, "orderflow:", err)
	return 1
}
