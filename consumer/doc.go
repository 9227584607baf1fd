// Package consumer is the Kafka side of Pawl. Its worker reads topics as a member of
// a consumer group and gives each record its verdict in a store of entities.
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
// # How a record is processed
//
// A batch goes through these steps:
//
//	poll -> decode -> fold and apply -> commit
//
// Poll takes what has arrived. Decode ([DecodeFunc]) says which changes each record
// asks for; package codec has codecs for it. The store folds the changes over the rows and writes the result in one
// transaction. It splits a large batch by entity over several concurrent transactions,
// which keeps the records of one entity in order. Commit tells the broker how far each
// partition is settled: up to the first record without a verdict, and never past it.
// It runs behind the batches, at most ten times a second. Every record gets one of the
// verdicts of package versioning, and none is skipped.
//
// Batches are applied one after another. With lag, the worker polls and decodes the
// next batch while it applies the current one. Without lag, it polls after it has
// applied the batch, and takes everything that has arrived until then. So batches are
// as large as they have to be, and nothing waits for one to fill.
//
// # Failures and restarts
//
// The worker crashes, at any point: Kafka delivers the records again whose offsets
// were not committed. The store finds that those it has already written are duplicates.
//
// The database is in trouble: the worker waits and retries for as long as it takes.
// Meanwhile it commits nothing, dead-letters nothing, and stays a member of its group.
// Run returns errors that retrying cannot fix, such as a missing privilege on the
// framework's tables.
//
// A rebalance takes partitions away: it waits until the current batch is applied and
// its offsets are committed, at most for Config.RebalanceHold, and not at all while the
// database is in trouble. If partitions are taken away while their records wait, the
// worker drops the records and commits nothing for them, because the partitions belong
// to another worker from then on. If this worker has already written some of the
// records, the new owner finds that they are duplicates.
//
// The worker becomes a zombie: the group has given it up and it does not know yet,
// because its machine was asleep or cut off. The version of each row and the fate of
// each record guard its writes, like those of every worker: a write takes effect once
// or changes nothing. The broker refuses its commits. If the group takes the worker in
// again as another member, the worker itself holds them back.
//
// A commit fails: the offsets stay pending, and the next commit covers them. The
// worker retries even if no more records arrive.
//
// The database loses committed transactions, because it fails over to a standby that
// does not have them or because a backup is restored: before the worker commits
// offsets, it stores marks in the database that say how far it has come. If a
// partition's committed offset is beyond its mark, the worker begins at the mark and
// logs that. It applies nothing on a server other than the one it read the marks from:
// if the server is restarted or replaced while the worker runs, the worker notices with
// its next batch, or after ten seconds, leaves the group and joins it again. Records
// that it reads twice are duplicates. If the mark is lost too, it begins at the start
// of the partition. The worker trusts an offset that no worker has committed, and logs
// that too. So to move a group on purpose, also forward, stop its workers, move it with
// Kafka's tools, and start them.
//
// A topic is re-created: the worker reads the new topic from its start. Its records are
// new although their offsets are not, because the topic's UUID is part of their
// identity (versioning.Origin).
//
// Run's context is canceled: the worker finishes the current batch, at most for
// Config.ShutdownGrace, commits, and leaves the group, so that other workers get its
// partitions at once.
//
// # Health
//
// If a worker makes no progress although there is lag, [Worker.Health] reports why,
// since when and with which error. The worker also logs it, once a minute. It reports
// these as well: a topic that does not exist, until it is created and even if the others
// are consumed; a partition whose end is hidden by a producer's open transaction; and
// dead letters that can't be copied. [Worker.Handler] serves the health to probes.
// /readyz fails in these cases. /healthz does not, because restarting does not help: the
// worker retries what a retry can fix, and Run returns every other error.
//
// # Logs and hooks
//
// A line that repeats is logged three times and then once a minute, with the number of
// suppressed lines. Keys and values of records are not logged. A [Hook]
// observes the worker, for metrics and traces; module otel has one. The Kafka client takes its
// own hooks (kgo.WithHooks).
package consumer
