// Command pawl is for those who operate workers: it shows what is in the database, entity by
// entity if need be, drops what nobody needs, and creates and upgrades the framework's schema.
//
//	go run github.com/pawl-go/pawl/cmd/pawl --help
//
// It needs the database alone. Programs with the code of the machines get the same commands, and
// those that judge records again, from package cli. The exit status is 0, 1 if something was found
// or is not there, and 2 after an error.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // after the first signal, a second one kills the process

	err := rootCommand().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pawl:", err)
	}
	return exitStatus(err)
}

// exitStatus returns 0, 1 if something was found or is not there, and 2 after any other error.
func exitStatus(err error) int {
	found := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return 0
	case slices.ContainsFunc([]error{cli.ErrFound, cli.ErrAbsent, check.ErrUnsafe, errOutdated}, found):
		return 1
	}
	return 2
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "pawl",
		Short: "Look at what Pawl's workers have in the database, and tidy up",
		Long: `Look at what Pawl's workers have in the database, and tidy up.

pawl needs the database alone: the flag --database-url, or DATABASE_URL. Programs
that know the machines have these commands too, and those that judge records
again, from package cli.

The exit status is 0, 1 if something was found or is not there, and 2 after an
error.`,
		Example: `  pawl status                          what there is, and what to look at
  pawl entity 1042                     all about an entity
  pawl dead-letters list --from 24h    what died since yesterday
  pawl completion bash                 completion for a shell`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(cli.DatabaseCommands("")...)
	root.AddCommand(migrateCommand())
	return root
}
