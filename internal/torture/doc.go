// Command torture runs Pawl under faults, with real processes, and then checks
// its promise: nothing lost, nothing applied twice, nothing stuck.
//
// It starts an Apache Kafka broker, a PostgreSQL server with a standby, and two
// workers for each of two tenants. The tenants share the database and use the
// same keys and message IDs. Each worker is a separate process with its own
// proxies to both servers. The relays of one tenant publish in Kafka transactions.
// torture produces records whose fates it knows in
// advance, and writes to a ledger where the broker has put each. Meanwhile it
// does the following, at random and concurrently:
//
//   - It kills workers (kill -9) or stops them (SIGTERM), and starts others.
//   - It freezes workers for longer than the session timeout. They wake up as
//     zombies that still believe that they own their partitions.
//   - It kills PostgreSQL (an immediate shutdown: no checkpoint, then recovery)
//     and the broker (kill -9), and starts them again.
//   - It kills PostgreSQL for good and promotes a standby that lacks the last
//     commits, or restores a base backup. The workers must go back to their
//     marks.
//   - It cuts, slows, fragments and drops the workers' network traffic.
//   - It takes all connections of a worker's pool, or all of the server's.
//   - It holds locks on rows that the workers want, and on the whole history.
//   - It writes other columns of rows that the workers compute, and counts that.
//
// A trigger on some of the tables rejects records, and records each step it sees.
//
// At the end torture waits until everything is settled and compares the ledger
// with the rows, the history, the steps that the trigger saw, the parked
// records and the dead letters.
//
// Some records are transfers between wallets, whose transitions compute balances.
// Whether a wallet has enough depends on the order in which the partitions are
// read, so the ledger does not know their fates. But the history must explain
// each verdict and each balance, and there must be as much money as at first.
//
// Some records are about tickets, which expire by a timer if they stay open for two seconds.
// Each step of a wallet, a ticket or a bill sends a message. At the end each ticket must have
// expired, none too early, and the topic of the messages must have each of them, in the order of
// each entity's steps. A message may be there again with the same ID, and there may be messages
// of steps that a failover has lost.
//
// The tenant whose relays use transactions has a stricter check. A reader of committed records
// must see each message exactly once, in order. There are two exceptions, and only after the
// database has lost commits. A message may be there again if it was read from the old server, and
// its deletion from the outbox may be among what was lost: its lane has not gone on before. And
// there may be messages of steps that were lost. To check that, torture notes up to when a new
// server has everything, and the relays note in headers when they read a message.
//
// Some records are demands about bills, whose steps enqueue jobs: River, in each worker's
// process, asks a provider for a charge or a fee. The provider is an HTTP server of torture, which
// nobody kills. Half of the first requests about a charge go wrong: nothing is done, or it is done
// and the answer is lost. A charge is Repeatable: the provider takes it once for a key. A fee is
// Queryable: the provider takes it as often as it is called, but can be asked. At the end the
// provider must have taken each charge and each fee exactly once, and none that no step has asked
// for, and its answer must be the next step of the bill. Only a fee may be taken again, if the
// attempt that took it began on a server that was lost, and its mark may be among what was lost.
//
// River gives the jobs of a killed worker to others after 40 seconds. A run is too short for that,
// so torture does it itself as soon as the worker is dead.
//
//	make torture DURATION=60s
//
// The last line is a JSON object. The exit status is 1 if a promise was broken.
//
// # What the promise requires
//
// The servers run with the settings that users need. Kafka: producers with
// acks=all and idempotence; this broker has one replica, but clusters also need
// min.insync.replicas=2 of three and no unclean leader election; topic
// retention longer than any outage. PostgreSQL: fsync, full_page_writes and
// synchronous_commit on. docs/guarantees.md says the same. torture
// kills only processes, not machines, so data in the kernel's buffers is not
// lost.
package main
