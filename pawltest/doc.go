// Package pawltest is for tests of workers: it delivers records to your machines, one after the
// other, and checks what they have caused.
//
//	func TestCapture(t *testing.T) {
//		w := pawltest.Of(t, Payment)
//		w.Give("p1", "payment.authorized", Authorize{Amount: 100})
//		w.Give("p1", "payment.captured", Capture{Amount: 60}).Want(versioning.Applied)
//		w.Give("p1", "payment.captured", Capture{Amount: 50}).WantReason(versioning.ReasonRefused)
//		w.WantRow("p1", Partly, PaymentRow{Amount: 100, Captured: 60})
//		w.WantMessages("p1", pawltest.Message{Topic: "ledger", Value: Entry{"p1", 60}})
//	}
//
// # Workers
//
// A [Worker] takes a record the way that a worker does (decode, fold, apply), but at once and
// without Kafka. [Of] and [New] make one that keeps its tables in memory. With Config.Pool it
// uses PostgreSQL; [Postgres] makes a database for a test, as a copy of a template, in some
// tens of milliseconds. The same test runs on both.
//
// Worker.Give delivers an event with its data, Worker.Change a list of changes, and Worker.Send a
// record of a topic, which the Decode of your workers turns into changes. The [Delivery] that they
// return has the verdict, and can deliver the record again. Worker.Advance moves the clock, by
// which timers fire. The methods that begin with Want compare what an entity has with what the
// test wants. If they differ, the test fails and prints the difference and what has happened to
// the entity: its steps, what is parked, its dead letters and their reasons.
//
// # Walks
//
// A [Walk] plays random scripts to a machine until every branch was taken: with records that come
// twice, too early, in another order or never, and with a worker that crashes. After each step it
// checks the invariants that you give it. It looks for these mistakes:
//
//   - an invariant that does not hold, such as a branch that loses money
//   - a function that is not pure
//   - a message that takes effect twice, because its ID is not what identifies it
//   - two orders of delivery that end in different rows
//   - a record that comes too early and is rejected instead of parked
//
// A failure is shrunk to the shortest script, and printed as a test that can be pasted.
//
// # Which orders must agree
//
// Kafka keeps the order of the records in a partition and no other. So two records of one entity
// overtake each other if they come from different topics, from producers that retry, or from jobs
// and timers. A machine that parks what comes too early makes the order irrelevant. Walk.Sources
// says which events keep their order. A walk takes records that are all applied at once in the order
// in which it has drawn them, delivers them in other orders that Sources allows, and wants the same
// states and rows, with every record applied.
//
// Without Sources, nothing says which orders can happen, so a walk reports less: only what no order
// excuses. Two orders that apply every record must end in the same rows, and no record may stay
// parked for good. An order in which a record is rejected is taken as one that can't happen.
//
// Only states, columns and verdicts are compared, not messages and jobs: these may say how far the
// entity had come.
//
// # Purity
//
// The functions of transitions and Decode must depend on their arguments alone. Before a record is
// delivered, its functions are called dozens of times with equal arguments: in a row, in another
// goroutine, and in a bubble of testing/synctest, where the clock shows the year 2000. That finds
// clocks, randomness, the order of maps, global state and changed arguments. What it can't find are
// functions that depend on something that does not change during a test, such as a file.
//
// # History
//
// [History] folds steps of production, which check.WriteHistory has exported, through a machine, so
// that a unit test says which entities a change of the machine would treat in another way.
//
// # What memory can't tell
//
// The store in memory decides as the one in PostgreSQL does, because both call versioning.Fold. But
// it has no constraints, no triggers, no defaults and no types of columns. At least one test of a
// machine should use a database.
package pawltest
