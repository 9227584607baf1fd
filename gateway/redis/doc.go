// Package redis keeps the keys and responses of package gateway in Redis, alone or in front
// of a backend that decides.
//
// # Redis in front of a database
//
// [NewHybrid] puts Redis in front of another backend, such as that of gateway/postgres. Redis
// answers repeats with the cached response and refuses collisions, so neither takes a
// connection of the database. Whatever Redis does not know goes to the database, whose
// constraint decides. Redis may be down, flushed, full or evicted, may fail over to a replica
// that lacks a lock, and may be slow; a process may pause for longer than its lease. Then
// requests become slower. None takes effect twice, because a request runs only after the
// database has let it, and its change and response commit there together.
//
// # Redis alone
//
// A [Backend] alone is for handlers that write nothing to a database, whose effect may be
// repeated in rare cases, or that change entities through Store.Do. By itself it cannot do
// better than at most once while Redis keeps its memory and the handler keeps its lease:
//
//   - The change and its response are not one transaction. A process that dies between them
//     leaves a change without a response; when its lease has expired, the retry runs again.
//   - Redis replicates after it has answered. A failover may lose a lock or a response.
//   - A process that pauses for longer than its lease (a virtual machine that is moved) may go
//     on while another one runs the same request.
//
// A handler that changes entities through the Store.Do of package versioning/postgres, with the
// message ID of the request, takes effect once in all of these cases: the history decides. What
// Redis loses then is only the response. The handler runs again, Do returns Duplicate, and the
// answer is what the row says by then. A refusal leaves no history: it is judged again, and its
// key is free for another request.
//
// # How a key is kept
//
// One string in Redis holds the state of a key: a lock with a random token, or the response.
// SET with NX and PX makes the lock, so two processes can't both get it. While the handler
// runs, the lock is renewed at a third of its lease. Finish and Release are scripts that
// compare the token: a run whose lock has expired cannot delete the lock of its successor.
// All times to live are counted by the server, so the clocks of the workers do not matter. If
// the server's clock is set back, whoever finds a lock that would live longer than its lease
// shortens it.
//
// # What the server needs
//
// Redis 7.0 or later, or Valkey, single, with sentinels, or a cluster. maxmemory-policy must
// be noeviction: any other lets Redis delete locks and responses when it is full. [Open]
// refuses such a server, and the backend asks again from time to time. A full server takes no
// new claims ([ErrFull]), still answers repeats, and still stores the responses of requests
// that have run.
package redis
