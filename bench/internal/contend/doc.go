// Package contend holds the contenders: each reads the same records and brings
// them to the same tables, in a process of its own, so that its time, its
// memory and its CPU are its own.
//
// # What time is
//
// The clock of a contender that reads from Kafka starts when it sends its first
// fetch: it has joined its group and is connected to the database, and nothing
// has arrived yet. (watermill has no hook for that. Its clock starts with its
// first message, which is in its favour.) The clock stops when the last record is
// settled: its transaction has committed. A contender with a time box stops then,
// and what it has settled counts.
//
// The clock of the limits, which do not read from Kafka, starts when all that
// they send is in memory, and stops with the last COMMIT.
package contend
