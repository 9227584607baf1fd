// Package contend contains the contenders. Each reads the same records and
// writes them to the same tables, in a separate process, so that its time,
// memory and CPU are not mixed with others'.
//
// # Time
//
// The clock of a contender that reads from Kafka starts when it sends its first
// fetch: it has joined its group and connected to the database, and nothing has
// arrived yet. (watermill has no hook for that. Its clock starts with its first
// message, which favors it.) The clock stops when the last record is settled:
// its transaction has committed. A contender with a time limit stops at the
// limit, and what it has settled counts.
//
// The clock of the limits, which do not read from Kafka, starts when everything
// they send is in memory, and stops with the last COMMIT.
package contend
