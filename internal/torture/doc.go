// Command torture runs Pawl under faults, with real processes, and then checks
// that the promise was kept: nothing lost, nothing applied twice, nothing stuck.
//
// It starts an Apache Kafka broker, a PostgreSQL server with a standby, and two workers
// for each of two tenants, who share the database, with the same keys and message IDs.
// Each worker is a process of its own that reaches both servers through a proxy of its
// own. It produces records whose fates it knows beforehand: it writes down in a ledger
// where the broker has put each. Meanwhile, at random and all at the same time, it
//
//   - kills workers (kill -9) or stops them (SIGTERM), and starts others;
//   - freezes workers for longer than the group waits for them, so that they
//     wake up as zombies that still believe that they own their partitions;
//   - kills PostgreSQL (an immediate shutdown: no checkpoint, then recovery) and
//     the broker (kill -9), and starts them again;
//   - kills PostgreSQL for good, and has a standby that lacks the last commits take
//     over, or restores a base backup: the workers have to go back to their marks;
//   - cuts, slows, chops up and swallows what the workers send and receive;
//   - takes all connections of a worker's pool, or all of the server's;
//   - holds locks on rows that the workers want, and on the whole history.
//
// A trigger on the tables refuses some of the records, and notes each step that it
// sees.
//
// Then it lets everything settle and compares the ledger with the rows, the
// history, the steps that the trigger has seen, the parked records and the dead
// letters.
//
//	make torture DURATION=60s
//
// The last line is a JSON object; the exit status is 1 if any promise was broken.
//
// # What the promise needs
//
// The servers run as users have to run theirs. Kafka: producers with acks=all and
// idempotence; one broker has one replica, so on clusters also
// min.insync.replicas=2 of three and no unclean leader election; topics kept for
// longer than any outage lasts. PostgreSQL: fsync, full_page_writes and
// synchronous_commit on. The README's guarantees say the same. Only processes
// are killed here, not machines: what the kernel has taken over is not lost.
package main
