// Command payments is a worker that keeps payments and accounts, meant as a starting point
// for your own, and a demo that tests it with faults and counts the money.
//
//	go run ./examples/payments            the demo; needs nothing set up
//	go run ./examples/payments worker     one worker, on your servers
//	go run ./examples/payments serve      the HTTP API, on your database
//	go run ./examples/payments --help     all commands
//
// To read the worker, start with payment.go and account.go, then decode.go, worker.go and
// migrate.go. api.go and serve.go are the HTTP API in front of the same machine. The directory internal contains only the demo.
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

// run is main with an exit status: 1 for a failure, 130 if Ctrl-C interrupted something,
// like a shell.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // after the first signal, a second one kills the process

	err := rootCommand().ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "payments: interrupted")
		return 130
	}
	fmt.Fprintln(os.Stderr, "payments:", err)
	return 1
}
