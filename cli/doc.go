// Package cli has commands for the operators of your workers. A program adds them to its own
// command line, because only it knows its state machines:
//
//	root.AddCommand(cli.Commands(cli.Config{
//		Tables: tables, // as for postgres.Open
//		Decode: decode, // as for the worker
//	})...)
//	...
//	os.Exit(cli.ExitStatus(root.Execute()))
//
// These look at the database and tidy it up. They need no machines, and are also in the program
// cmd/pawl, which has a command to migrate the framework's schema besides:
//
//	status         what there is, and what to look at
//	entity         all about an entity: row, history, and what is kept for it
//	dead-letters   list, show, export, drop
//	parked         list, show, drop
//	timers         list
//	unsent         list
//	machine        show, diagram, check: the registered definitions
//	audit          list what operators have dropped and redriven
//
// These need the machines or Decode of the program:
//
//	dead-letters redrive   judge dead letters again: see Store.RedriveAs
//	check                  compare the machines of a build with those in use: see package check
//	migrate-entities       move entities out of retired states: see Store.Migrate
//	withdraw               give up a version of a machine: see Store.Withdraw
//	replay                 read topics again: see package replay
//
// The content of records and the columns of rows are shown only with the flag --payload. Commands
// that can't be undone ask on a terminal, need --yes elsewhere, and leave a row in the table audit.
// docs/operations.md and docs/changing.md show the commands in use.
//
// Workers do not import this package, so they do not link cobra.
package cli
