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
	// check: Compare this build's state machines with those in use, before you deploy it
	// migrate-entities: Move entities out of states that this build has retired
	// replay: Read topics again: try, verify, apply, rebuild
	// withdraw: Give up a version of a machine after its workers were replaced by older ones
	// exit status 2
}
