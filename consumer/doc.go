// Package consumer is the Kafka side of Pawl: a worker that reads topics as a
// member of a consumer group and brings each record to its verdict in a store of
// entities.
//
//	worker, err := consumer.New(consumer.Config{
//		Client: []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
//		Group:  "order-workers",
//		Topics: []string{"orders"},
//		Store:  store, // from postgres.Open
//		Decode: consumer.DecodeMessage,
//	})
//	...
//	err = worker.Run(ctx) // nil after a clean stop
//
// # The way of a record
//
// A batch goes through these steps:
//
//	poll -> decode -> fold and apply -> commit
//
// Poll takes what has arrived. Decode ([DecodeFunc]) says which changes each record
// asks for. The store folds the changes over the rows and writes the result in one
// transaction; for a large batch several do so at the same time, split by entity, so
// that the records of one entity stay in order. Commit tells the broker, behind the
// batches and ten times a second at most, how far each partition is settled: up to
// the first record without a verdict, and never past it. Every record ends in one of
// the verdicts of package versioning, and none is skipped.
//
// Batches are applied one after the other. With lag, a batch is handed over after
// decode, and the next one is polled and decoded while it is applied. Without, the
// next poll waits, and so takes what has arrived until then: batches are as large as
// they have to be, and nothing waits for one to fill.
//
// # What happens when
//
// A crash, at any point: what was not committed to Kafka is delivered again. What
// of it was already in the database is found to be a duplicate, by the store.
//
// The database is in trouble: the worker waits and tries again, for as long as it
// takes. It commits nothing and dead-letters nothing meanwhile, and stays a
// member of its group. What no attempt can mend, such as a missing right on the
// framework's tables, ends Run with the error.
//
// A rebalance that takes partitions away: it waits for the batch in hand, for
// Config.RebalanceHold at most, and not at all while the database is in trouble, and
// for its commit. Partitions that are taken away
// while their records wait belong to someone else from then on: the worker drops
// the records and commits nothing for them. What it may have written already, the
// next owner finds to be a duplicate.
//
// A zombie: a worker that the group has given up on without its knowing, because
// its machine was asleep or cut off. Whatever it still writes is guarded by the
// version of each row and by the record's fate, like everyone's writes: it takes,
// once, or it changes nothing. The broker refuses its commits; where the group takes
// the worker in again as another member, it keeps them back itself.
//
// A commit fails: the offsets stay pending, and the next commit covers them. The
// worker comes back to it even if no more records arrive.
//
// The database loses what it has committed, by a failover to a standby that has not
// got it, or because a backup is restored: before offsets are committed, the worker
// notes in the database how far it has come. A partition whose committed offset is
// beyond its mark begins at the mark, and the log says so. Nothing is applied on another
// server than the one that the marks were read from: a worker that runs while the server
// is restarted or replaced finds that out with its next batch, or after ten seconds,
// leaves the group and joins it again. What is read twice is a duplicate. A partition
// whose mark is lost too begins at its start. An offset that no worker has committed is
// trusted, and the log says that too. So to move a group on purpose, also forward, stop
// its workers, move it with Kafka's tools, and start them.
//
// A topic is deleted and made again: the worker reads the new one from its start.
// Its records are new, although their offsets are not: the topic's UUID is part
// of their identity (versioning.Origin).
//
// Run's context ends: the worker finishes the batch in hand, for
// Config.ShutdownGrace at most, commits, and leaves the group, so that others
// have its partitions at once.
//
// # Health
//
// A worker that makes no progress although there is lag shows: [Worker.Health]
// tells why, since when and with which error, and so does a line of the log, once
// a minute. So does a topic that does not exist, even if the others are consumed,
// until it is made; a partition of which a producer's open transaction hides the end;
// and dead letters that can't be copied. [Worker.Handler] serves it to probes. /readyz fails meanwhile;
// /healthz does not, for a restart is never the cure: whatever a retry can mend is
// retried, and the rest ends Run.
//
// # Logs and hooks
//
// What happens in a loop is logged three times and then once a minute, with the
// number of lines that were suppressed. Keys and values of records are not
// logged. [BatchStartHook], [BatchEndHook] and [TroubleHook] are for metrics and traces;
// the client takes its own hooks (kgo.WithHooks).
package consumer
