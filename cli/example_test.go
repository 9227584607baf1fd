package cli_test

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/cli"
)

// The command line of a worker gets the commands of this package.
func ExampleCommands() {
	root := &cobra.Command{Use: "lampd", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.Commands(cli.Config{Tables: lamps(1, "on")})...)
	for _, cmd := range root.Commands() {
		fmt.Printf("%s: %s\n", cmd.Name(), cmd.Short)
	}

	root.SetArgs([]string{"check", "--database-url", "nonsense"})
	err := root.Execute()
	fmt.Println("exit status", cli.ExitStatus(err)) // os.Exit(cli.ExitStatus(err))
	// Output:
	// audit: List what operators have dropped and redriven
	// check: Compare this build's state machines with those in use, before you deploy it
	// dead-letters: List, show, export, drop and redrive the records that could not be applied
	// entity: Show all that there is about an entity
	// machine: Show, draw and compare the registered machines
	// migrate-entities: Move entities out of states that this build has retired
	// parked: List, show and drop the records that wait for their entity
	// replay: Read topics again: try, verify, apply, rebuild
	// status: Show what the database has, and what to look at
	// timers: List the timers that are armed
	// unsent: List the messages that the broker has refused
	// withdraw: Give up a version of a machine after its workers were replaced by older ones
	// exit status 2
}

// A program for operators needs no machines, only the database. The program cmd/pawl is such a one.
func ExampleDatabaseCommands() {
	root := &cobra.Command{Use: "ops", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.DatabaseCommands("")...)
	root.SetArgs([]string{"dead-letters", "drop", "--all", "--database-url", "nonsense"})
	err := root.Execute()
	fmt.Println("exit status", cli.ExitStatus(err))
	// Output:
	// exit status 2
}
