// Package cli has commands for the operators of your workers. A program adds them to its own
// command line, because only it knows its state machines:
//
//	root.AddCommand(cli.Commands(cli.Config{
//		Tables: tables, // as for postgres.Open
//	})...)
//	...
//	os.Exit(cli.ExitStatus(root.Execute()))
//
// check compares the machines of a build with those in use, before the build is deployed: see
// package check. migrate-entities moves entities out of states that a build has retired, and
// withdraw gives up a version: see Store.Migrate and Store.Withdraw of package versioning/postgres.
// docs/changing.md shows them in use.
//
// Workers do not import this package, so they do not link cobra.
package cli
