// Command orderflow is a complete order worker with payments and shipments, meant
// as a starting point for your own, and a demo that tests it with faults.
//
//	go run ./examples/orderflow            the demo; needs nothing set up
//	go run ./examples/orderflow worker     one worker, on your servers
//	go run ./examples/orderflow --help     all commands
//
// To read the worker, start with order.go, then payment.go, decode.go, worker.go,
// charge.go, jobs.go, shipment.go and migrate.go. The directory internal contains only the
// demo.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/pawl-go/pawl/cli"
)

func main() { os.Exit(run()) }

// run is main with an exit status: 1 for a failure, or what the commands of package cli
// say, and 130 if Ctrl-C interrupted something, like a shell.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // after the first signal, a second one kills the process

	err := rootCommand().ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "orderflow: interrupted")
		return 130
	}
	fmt.Fprintln(os.Stderr, "orderflow:", err)
	return cli.ExitStatus(err)
}
