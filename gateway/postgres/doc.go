// Package postgres is the backend of package gateway that keeps responses in PostgreSQL. The
// database decides who runs: no lease and no clock of a client is involved.
//
// # With a transaction
//
// [Open] returns a [Backend]. It gives each handler a transaction ([Tx]) that has locked the
// key with an advisory lock. What the handler writes in it and the stored response commit
// together. So whatever breaks, the next request with the key finds both or neither:
//
//	the process dies, or its       the server rolls back, which frees the key;
//	connection breaks              the next request runs
//	the answer to COMMIT is lost   the client gets 503 with Retry-After;
//	                               the next request is answered with the stored response, or runs
//	the client hangs up            the handler's context ends; the rest is as above
//	the handler answers with 5xx,  rolled back
//	or panics
//	the handler answers with 4xx   what it wrote is rolled back, its response is stored
//
// The primary key of the stored responses has the last word: if a second one is ever about to
// be stored, its transaction is rolled back, and the client gets the first one.
//
// A request with a key that runs in the same process is answered without the database. One
// with a key that runs elsewhere is answered after a look at the lock. Requests that wait
// (gateway.Config.Wait) hold no connection. Config.MaxRunning bounds the connections of those
// that run; the others wait for their turn for Config.QueueTimeout.
//
// A handler should use its transaction only. If it takes another connection of the same pool
// while it runs, give the pool twice as many as MaxRunning. It must not change entities with
// Store.Do: that uses another connection, and the change commits although the handler's
// transaction may be rolled back. Do refuses it. Use the backend of the next section.
//
// Put an http.TimeoutHandler outside of the gateway, never inside: a handler inside of one goes
// on after its request was answered. With a transaction, the statement that it runs is
// canceled, everything is rolled back, and its later calls fail ([Tx]). With Store.Do, its key
// is free while it still runs, so the next request with the key runs beside it.
//
// # With Store.Do
//
// The store of package versioning/postgres gathers the changes of concurrent callers into
// transactions, which is much faster than a transaction for each. [Backend.WithoutTransaction]
// does the same for claims and responses. A request then takes three steps, each of which
// commits on its own: claim, Do, store the response. Give the change the message ID
// [github.com/pawl-go/pawl/gateway.MessageID], and answer from the row:
//
//	outcome, err := store.Do(ctx, versioning.Change{Key: id, Event: "captured", Data: money, MessageID: gateway.MessageID(ctx)})
//
// A message ID proves a repeat only within one entity, and only if the change is the same on
// each attempt. So the entity's key comes from the request. If the request creates the entity,
// it is [github.com/pawl-go/pawl/gateway.EntityKey]: a random key would be another entity on
// each attempt. And the data follow from the request, without the time of day or random
// values: otherwise the next attempt is Diverged (message_taken) although the change was made.
// That is not a refusal; do not answer it with a 4xx, which would be stored.
//
// If the process dies between two steps, the next request runs: Do returns Duplicate, because
// the history has the message ID, and the handler answers as it would have before. Nothing
// was sent to the client until the response was stored, so all answers are the same. This
// holds for ever: when the response has expired, the history still proves that the change was
// made, and the answer is what the row says by then.
//
// # Expiry
//
// A response expires Config.TTL after it was stored, by the server's clock. [Backend.Run]
// deletes what has expired.
//
// # Poolers
//
// Both kinds work behind a pooler in transaction mode, such as PgBouncer, with
// default_query_exec_mode=cache_describe in the connection string.
package postgres
