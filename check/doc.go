// Package check answers, before a build is deployed, what a changed state machine would do to the
// entities that there are.
//
//	report, err := check.Run(ctx, check.Config{
//		Tables:  tables, // of the new build, as for postgres.Open
//		Pool:    pool,
//		History: 10_000,
//	})
//	...
//	fmt.Print(report)
//	err = report.Err(false) // matches ErrUnsafe if entities would be stranded
//
// It looks at three things:
//
//   - The definitions: what the new one adds, removes and changes, and what follows from that
//     for entities and for records that are on their way. statemachine.Compare does this.
//   - The rows: how many are in states that the new definition does not know, or from which it
//     migrates them.
//   - The history, if it is asked for: the steps of the entities that have moved last are folded
//     through the new definition. The report says how many entities would have ended elsewhere,
//     and at which step they part from what has happened.
//
// The definition in use is the newest one that a worker has registered in the database and that
// was not withdrawn. Without a database, it is in a file that [Write] has written and that is kept
// beside the code: then CI can tell what a change of the code would strand.
//
// Functions can't be compared: conditions and actions are not in the outline of a definition, and
// the history does not have the data that they look at. Give the definition a new
// Definition.Revision when a function changes, so that the report says that one has. For a step
// with several branches, the one that the entity took counts if the new definition still has it.
//
// Nothing is written and nothing is registered. [ExitStatus] makes an exit status of the result;
// package cli has a command that does all this.
package check
