package postgres

import "github.com/pawl-go/pawl/migrations"

// statements are the statements about the table responses, for the backend's schema.
type statements struct {
	lookup, lookupAll, reread    string
	insert, insertAll            string
	insertOr, insertAllOr, sweep string
}

func statementsFor(schema migrations.Schema) statements {
	return statements{
		lookup:      schema.SQL(lookupSQL),
		lookupAll:   schema.SQL(lookupAllSQL),
		reread:      schema.SQL(rereadSQL),
		insert:      schema.SQL(insertSQL),
		insertAll:   schema.SQL(insertAllSQL),
		insertOr:    schema.SQL(insertSQL + unlessStored),
		insertAllOr: schema.SQL(insertAllSQL + unlessStored),
		sweep:       schema.SQL(sweepSQL),
	}
}

const (
	lookupSQL = `SELECT response FROM pawl.responses WHERE id = $1 AND expires_at > now()`

	// If the transaction has one snapshot, what rereadSQL would see is too old. It does not read
	// the table then: a serializable transaction would conflict with each other one that stores a
	// response in the same page of the index.
	rereadSQL = `
SELECT response, expires_at <= statement_timestamp() FROM pawl.responses
WHERE id = $1 AND current_setting('transaction_isolation') NOT IN ('repeatable read', 'serializable')`

	lockSQL = `SELECT pg_try_advisory_xact_lock($1)`

	// Behind a pooler, the session has another number, and is not found.
	sessionSQL = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`

	settingsSQL = `
SELECT set_config('idle_in_transaction_session_timeout', coalesce(nullif($1::text, ''),
       nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '30s'), true),
       current_setting('transaction_isolation'), current_setting('transaction_read_only')::boolean`

	// Rows that a run is replacing are locked, and expire later then. A row is found by its
	// place, ctid, which does not change while it is locked: the planner might look for many
	// ids by reading the whole table.
	sweepSQL = `
WITH deleted AS (
	DELETE FROM pawl.responses WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM pawl.responses WHERE expires_at >= $1 AND expires_at <= now()
		ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
	RETURNING expires_at
)
SELECT count(*), coalesce(max(expires_at), $1) FROM deleted`

	// The subquery looks into the index once for each key, whatever the planner thinks of the
	// table. The transaction may be old, so the time is that of the statement.
	lookupAllSQL = `
SELECT u.n, (SELECT r.response FROM pawl.responses AS r WHERE r.id = u.id AND r.expires_at > statement_timestamp() OFFSET 0)
FROM unnest($1::bytea[]) WITH ORDINALITY AS u(id, n)`

	// The server would plan insertAllSQL for a single response each time. The time is that of the
	// statement: the handler may have taken long.
	insertSQL = `
INSERT INTO pawl.responses AS r (id, response, expires_at) VALUES ($1, $2, statement_timestamp() + $3::interval)`

	insertAllSQL = `
INSERT INTO pawl.responses AS r (id, response, expires_at)
SELECT u.id, u.response, statement_timestamp() + $3::interval FROM unnest($1::bytea[], $2::bytea[]) AS u(id, response) ORDER BY u.id`

	unlessStored = `
ON CONFLICT (id) DO UPDATE SET response = excluded.response, expires_at = excluded.expires_at WHERE r.expires_at <= statement_timestamp()
RETURNING r.id`
)
