package postgres

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// The statements. Values are parameters, always; what varies in the text are
// identifiers and type names, which come from the catalog, quoted.
//
// Functions that take arrays of any type are qualified: a function in the application's
// search_path that takes text[] would fit better. (unnest of several is no name, but
// syntax.) The search_path itself stays, for the triggers of the application's tables.
//
// What is read for each element of a batch is read by a subquery that can't
// become a join: a scalar one, or a lateral one with OFFSET 0. It looks into the
// index once for each element, by all columns. A join that is planned while the
// tables are empty may look for the machine alone, and read all of its rows for
// each element.

// guardedSQL has a statement that returns its rows fail if they are not $n. ($n is
// its last parameter.)
func (s *schema) guardedSQL(sql string, n int) string {
	return fmt.Sprintf("WITH taken AS (%s)\nSELECT (count(*) = $%d)::%s.guarded FROM taken", sql, n, s.quoted)
}

const parkedColumns pawlSQL = `
SELECT p.topic, p.topic_id, p.partition, p."offset", p.scope, p.seq, p.machine, p.entity, p.reason, p.seen_version,
       p.changes, p.key, p.value, p.headers, p."timestamp"`

const readParkedSQL pawlSQL = parkedColumns + `
FROM (SELECT pg_catalog.unnest($2::text[]) AS key OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT * FROM pawl.parked WHERE machine = $1 AND entity = u.key ORDER BY seq OFFSET 0
) AS p`

// readDeadSQL reads the dead letters of stretches of logs that have their scope, or
// none but machines $6.
const readDeadSQL pawlSQL = `
SELECT d.topic_id, d.partition, d."offset", d.scope, d.verdict, d.reason, d.detail, d.machine, d.entity, d.event
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[]) AS u(topic_id, partition, scope, first, last)
CROSS JOIN LATERAL (
	SELECT * FROM pawl.dead_letters AS d
	WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" BETWEEN u.first AND u.last
		AND (d.scope = u.scope OR string_to_array(d.scope, ',') <@ $6::text[])
	OFFSET 0
) AS d`

// firstSteps is how many of an entity's first steps have all their messages read, by
// the primary key, as a rule with its row. (The statements have the number written
// out.) Those of the steps beyond are looked up one by one: the index for that holds
// no others, and is of use to a condition that says so.
const firstSteps = 16

// readFirstSQL reads the messages of the first steps of the entities $2.
const readFirstSQL pawlSQL = `
SELECT entity, message_id, coalesce(digest, 0) FROM pawl.transitions WHERE entity = ANY ($2::text[]) AND machine = $1 AND version <= 16`

// readBeyondSQL reads the later steps that the messages $3 of the entities $2 made.
const readBeyondSQL pawlSQL = `
SELECT u.entity, u.message_id, coalesce(h.digest, 0)
FROM (SELECT pg_catalog.unnest($2::text[]) AS entity, pg_catalog.unnest($3::text[]) AS message_id OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT digest FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version > 16 AND message_id = u.message_id OFFSET 0
) AS h`

// readSendersSQL reads all steps that the messages $3 of the entities $2 made.
const readSendersSQL pawlSQL = `
SELECT u.entity, u.message_id, h.event, h.topic, h.topic_id, h.partition, h."offset", coalesce(h.digest, 0)
FROM (SELECT pg_catalog.unnest($2::text[]) AS entity, pg_catalog.unnest($3::text[]) AS message_id OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT * FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version <= 16 AND message_id = u.message_id
	UNION ALL
	SELECT * FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version > 16 AND message_id = u.message_id
	OFFSET 0
) AS h`

const readStepsSQL pawlSQL = `
SELECT u.key, u.version, h.event, h.message_id, h.topic, h.topic_id, h.partition, h."offset", coalesce(h.digest, 0)
FROM unnest($2::text[], $3::bigint[]) AS u(key, version)
CROSS JOIN LATERAL (
	SELECT event, message_id, topic, topic_id, partition, "offset", digest FROM pawl.transitions
	WHERE machine = $1 AND entity = u.key AND version = u.version OFFSET 0
) AS h`

// readSQL reads the rows of $1, and for keys without one the last step that the
// history of machine $2 knows. With $3, each comes once for every one of its first
// steps, one after the other, and for one more that tells that there are steps beyond;
// or once. It is one statement so that the messages are those of the row that is read:
// older ones would let a message that has just moved it pass for a new one.
func (t *table) readSQL(s *schema) string {
	return fmt.Sprintf(`
SELECT u.n, coalesce(t.%[3]s::text, gone.to_state), coalesce(t.%[4]s::bigint, gone.version), t.%[2]s IS NULL,
       first.message_id, first.version, coalesce(first.digest, 0)
FROM (SELECT pg_catalog.unnest($1::text[]) AS key, generate_subscripts($1::text[], 1) AS n OFFSET 0) AS u
LEFT JOIN %[1]s AS t ON t.%[2]s = u.key::%[5]s
LEFT JOIN LATERAL (
	SELECT h.to_state, h.version FROM %[6]s.transitions AS h
	WHERE t.%[2]s IS NULL AND h.entity = u.key AND h.machine = $2
	ORDER BY h.version DESC LIMIT 1
) AS gone ON true
LEFT JOIN LATERAL (
	SELECT h.message_id, h.version, h.digest FROM %[6]s.transitions AS h
	WHERE $3 AND (t.%[2]s IS NOT NULL OR gone.version IS NOT NULL) AND h.entity = u.key AND h.machine = $2
	ORDER BY h.version LIMIT 17
) AS first ON true
WHERE t.%[2]s IS NOT NULL OR gone.version IS NOT NULL`,
		t.ident, t.key.sqlName(), t.state.sqlName(), t.version.sqlName(), t.key.cast, s.quoted)
}

// lockSQL locks the rows of $1, in its order.
func (t *table) lockSQL() string {
	return fmt.Sprintf(`
SELECT FROM %[1]s AS t JOIN pg_catalog.unnest($1::text[]) WITH ORDINALITY AS u(key, n) ON t.%[2]s = u.key::%[3]s
ORDER BY u.n FOR UPDATE OF t`, t.ident, t.key.sqlName(), t.key.cast)
}

// updateSQL is the optimistic update: $1 key, $2 and $3 the state and version
// that the row must have, $4 and $5 those that it gets; then for each column
// its values and whether the row sets it.
func (t *table) updateSQL(columns []int) string {
	var set, params, names strings.Builder
	for i, at := range columns {
		c := &t.columns[at]
		fmt.Fprintf(&set, ", %s = CASE WHEN u.set%d THEN u.val%d::%s ELSE t.%s END",
			c.sqlName(), i, i, c.cast, c.sqlName())
		fmt.Fprintf(&params, ", $%d::text[], $%d::boolean[]", 6+2*i, 7+2*i)
		fmt.Fprintf(&names, ", val%d, set%d", i, i)
	}
	return fmt.Sprintf(`
UPDATE %[1]s AS t SET %[3]s = u.to_state::%[6]s, %[4]s = u.to_version%[7]s
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[]%[8]s)
	AS u(key, from_state, from_version, to_state, to_version%[9]s)
WHERE t.%[2]s = u.key::%[5]s AND t.%[3]s::text = u.from_state AND t.%[4]s = u.from_version
RETURNING true`,
		t.ident, t.key.sqlName(), t.state.sqlName(), t.version.sqlName(), t.key.cast, t.state.cast,
		set.String(), params.String(), names.String())
}

// insertSQL makes new rows: $1 key, $2 state, $3 version; then for each column
// its values, and, where some rows have its default, whether the row sets it. A
// key that is there already is left alone, and so counts as moved
// by someone else; any other conflict is an error of the row's data.
func (t *table) insertSQL(columns []int, someDefault []bool) string {
	var into, values, params, names strings.Builder
	param := 3
	for i, at := range columns {
		c := &t.columns[at]
		param++
		fmt.Fprintf(&into, ", %s", c.sqlName())
		fmt.Fprintf(&params, ", $%d::text[]", param)
		fmt.Fprintf(&names, ", val%d", i)
		if !someDefault[i] {
			fmt.Fprintf(&values, ", u.val%d::%s", i, c.cast)
			continue
		}
		param++
		fmt.Fprintf(&values, ", CASE WHEN u.set%d THEN u.val%d::%s ELSE %s END", i, i, c.cast, c.defaultSQL)
		fmt.Fprintf(&params, ", $%d::boolean[]", param)
		fmt.Fprintf(&names, ", set%d", i)
	}
	return fmt.Sprintf(`
INSERT INTO %[1]s (%[2]s, %[3]s, %[4]s%[7]s)
SELECT u.key::%[5]s, u.state::%[6]s, u.version%[8]s
FROM unnest($1::text[], $2::text[], $3::bigint[]%[9]s) AS u(key, state, version%[10]s)
ON CONFLICT (%[2]s) DO NOTHING
RETURNING true`,
		t.ident, t.key.sqlName(), t.state.sqlName(), t.version.sqlName(), t.key.cast, t.state.cast,
		into.String(), values.String(), params.String(), names.String())
}

// verifySQL fails, with the name of a column, if a row is not what was written: $1 key,
// $2 state, $3 version.
func (t *table) verifySQL(s *schema) string {
	return fmt.Sprintf(`
SELECT coalesce(min(CASE WHEN w.is_there IS NULL THEN 'key' WHEN w.state <> u.state THEN 'state' WHEN w.version <> u.version THEN 'version' END),
                '')::%[6]s.written
FROM (SELECT pg_catalog.unnest($1::text[]) AS key, pg_catalog.unnest($2::text[]) AS state, pg_catalog.unnest($3::bigint[]) AS version OFFSET 0) AS u
LEFT JOIN LATERAL (
	SELECT true AS is_there, t.%[3]s::text AS state, t.%[4]s AS version FROM %[1]s AS t WHERE t.%[2]s = u.key::%[5]s OFFSET 0
) AS w ON true`, t.ident, t.key.sqlName(), t.state.sqlName(), t.version.sqlName(), t.key.cast, s.quoted)
}

// checkNowSQL has all constraints checked with each statement from now on.
const checkNowSQL = `SET CONSTRAINTS ALL IMMEDIATE`

// waitForStandbySQL makes the COMMIT of a transaction that may have written nothing
// wait for a synchronous standby, if there is one: a verdict such as Duplicate rests
// on rows that others have written, which are visible before the standby has them
// where their own COMMIT was given up. PostgreSQL waits only for a transaction that
// has written to its log; this message is the least that counts.
const waitForStandbySQL = `
SELECT pg_logical_emit_message(true, 'pawl', '') WHERE current_setting('synchronous_standby_names') <> ''`

// insertHistorySQL writes steps of machine $1, in version $2 of its definition, by
// records of topic $3 with the ID $4.
const insertHistorySQL pawlSQL = `
INSERT INTO pawl.transitions (machine, definition_version, topic, topic_id, partition, "offset",
                              entity, version, event, from_state, to_state, message_id, digest)
SELECT $1::text, $2::integer, $3::text, $4::uuid, pg_catalog.unnest($5::integer[]), pg_catalog.unnest($6::bigint[]),
       pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::bigint[]), pg_catalog.unnest($9::text[]), pg_catalog.unnest($10::text[]), pg_catalog.unnest($11::text[]), pg_catalog.unnest($12::text[]),
       pg_catalog.unnest($13::bigint[])`

const insertParkedSQL pawlSQL = `
INSERT INTO pawl.parked (topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
                         changes, key, value, headers, "timestamp")
SELECT topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
       changes, key, value, headers, "timestamp"
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::bigint[], $10::jsonb[], $11::bytea[], $12::bytea[], $13::jsonb[], $14::timestamptz[]) WITH ORDINALITY
	AS u(topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
	     changes, key, value, headers, "timestamp", n)
ORDER BY u.n
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`

const updateParkedSQL pawlSQL = `
UPDATE pawl.parked AS p SET machine = u.machine, entity = u.entity, reason = u.reason, seen_version = u.seen
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
	AS u(topic_id, partition, "offset", scope, machine, entity, reason, seen)
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = u.scope`

const deleteParkedSQL pawlSQL = `
DELETE FROM pawl.parked AS p
USING unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[]) AS u(topic_id, partition, "offset", scope)
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = u.scope
RETURNING true`

// unparkSQL deletes the parked records of some origins for any of the machines
// $4: a record that can't be decoded any more has no scope, and may have had one.
const unparkSQL pawlSQL = `
DELETE FROM pawl.parked AS p
USING unnest($1::uuid[], $2::integer[], $3::bigint[]) AS u(topic_id, partition, "offset")
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = ANY ($4::text[])`

// insertDeadSQL leaves a record alone that is a dead letter already: it was
// delivered again.
const insertDeadSQL pawlSQL = `
INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail,
                               machine, entity, event, key, value, headers, "timestamp")
SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[], $14::jsonb[], $15::timestamptz[])
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`

// updateDeadSQL gives a dead letter that was redriven in vain its new reason.
const updateDeadSQL pawlSQL = `
UPDATE pawl.dead_letters AS d
SET verdict = u.verdict, reason = u.reason, detail = u.detail, machine = u.machine, entity = u.entity, event = u.event,
    attempts = d.attempts + 1
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::text[])
	AS u(topic_id, partition, "offset", scope, verdict, reason, detail, machine, entity, event)
WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" = u."offset" AND d.scope = u.scope
RETURNING true`

const deleteDeadSQL pawlSQL = `
DELETE FROM pawl.dead_letters AS d
USING unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[]) AS u(topic_id, partition, "offset", scope)
WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" = u."offset" AND d.scope = u.scope
RETURNING true`

const deadColumns pawlSQL = `
SELECT d.id, d.topic, d.topic_id, d.partition, d."offset", d.scope, d.verdict, d.reason, d.detail, d.machine, d.entity,
       d.event, d.attempts, d.died_at, d.key, d.value, d.headers, d."timestamp"
FROM pawl.dead_letters AS d`

// $1 IDs, $2 reason, $3 machine, $4 entity, $5 topic, $6 from, $7 to, $8 after, $9 limit
const listDeadSQL pawlSQL = deadColumns + `
WHERE ($1::bigint[] IS NULL OR d.id = ANY ($1)) AND ($2 = '' OR d.reason = $2) AND ($3 = '' OR d.machine = $3)
  AND ($4 = '' OR d.entity = $4) AND ($5 = '' OR d.topic = $5)
  AND ($6::timestamptz IS NULL OR d.died_at >= $6) AND ($7::timestamptz IS NULL OR d.died_at < $7) AND d.id > $8
ORDER BY d.id LIMIT $9`

// $1 reason, $2 machine, $3 entity, $4 topic, $5 from, $6 to, $7 limit
const listParkedSQL pawlSQL = parkedColumns + `, p.parked_at
FROM pawl.parked AS p
WHERE ($1 = '' OR p.reason = $1) AND ($2 = '' OR p.machine = $2) AND ($3 = '' OR p.entity = $3) AND ($4 = '' OR p.topic = $4)
  AND ($5::timestamptz IS NULL OR p.parked_at >= $5) AND ($6::timestamptz IS NULL OR p.parked_at < $6)
ORDER BY p.seq LIMIT $7`

// $1 topics, $2 their partitions, $3 limit
const readUncopiedSQL pawlSQL = deadColumns + `
WHERE d.copied_at IS NULL AND (d.topic, d.partition) IN (SELECT * FROM unnest($1::text[], $2::integer[]))
ORDER BY d.id LIMIT $3`

const markCopiedSQL pawlSQL = `UPDATE pawl.dead_letters SET copied_at = now() WHERE id = ANY ($1::bigint[])`

// expireSQL moves parked records to the dead letters: $1 machine, $2 the time
// that they may wait by the machine's clock, $3 limit, $4 partitionGone. Where no
// partition is known there is no clock, and none expires. Rows that another
// transaction is at are left to it.
const expireSQL pawlSQL = `
WITH expired AS (
	DELETE FROM pawl.parked AS p USING (
		SELECT topic_id, partition, "offset", scope FROM pawl.parked
		WHERE machine = $1 AND parked_at < (
			SELECT min(at) FROM pawl.caught_up WHERE machine = $1 AND at >= now() - $4::interval
		) - $2::interval
		ORDER BY parked_at LIMIT $3 FOR UPDATE SKIP LOCKED
	) AS old
	WHERE p.topic_id = old.topic_id AND p.partition = old.partition AND p."offset" = old."offset"
		AND p.scope = old.scope
	RETURNING p.*
)
INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail,
                               machine, entity, event, key, value, headers, "timestamp")
SELECT topic_id, partition, "offset", scope, topic, 'rejected', 'parked_too_long',
       format('waited for the entity for longer than %s in which all partitions were read: %s, last judged at version %s',
              $2::interval, reason, seen_version),
       machine, entity, coalesce(changes->0->>'event', ''), key, value, headers, "timestamp"
FROM expired
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`

// movedSQL finds the entities of machine $1 that have moved since a record that
// is parked for them was judged: the version of the row is another one. It returns
// the first $2 of them after key $4, by key. Texts that are no keys, since the type of
// the key was another one when they were parked, are left to wait. A row
// that has not moved counts too if the record waits only because its state was
// unknown, and it is one of the states $3 now. An index on the key is of use only
// to a comparison under the key's collation, which pawl.parked does not have.
func (t *table) movedSQL(s *schema) string {
	return fmt.Sprintf(`
SELECT DISTINCT p.entity FROM %[7]s.parked AS p
JOIN %[1]s AS t ON t.%[2]s = %[4]s%[5]s
WHERE p.machine = $1 AND (t.%[3]s <> p.seen_version OR p.reason = 'unknown_state' AND t.%[6]s::text = ANY ($3::text[]))
	AND p.entity > $4
ORDER BY p.entity LIMIT $2`, t.ident, t.key.sqlName(), t.version.sqlName(), t.key.castOrNull("p.entity"), t.key.collate(), t.state.sqlName(), s.quoted)
}

// castOrNull returns an expression for a text as a value of the column, which is NULL
// where the text is no canonical one.
func (c *tableColumn) castOrNull(text string) string {
	var is string
	switch c.base {
	case pgtype.UUIDOID:
		is = text + ` ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'`
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
		most := int64(1)<<(intBits(c.base)-1) - 1
		is = fmt.Sprintf(`CASE WHEN %s ~ '^-?[0-9]{1,19}$' THEN %s::numeric BETWEEN %d AND %d END`, text, text, -most-1, most)
	default:
		return fmt.Sprintf("%s::%s", text, c.cast)
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s::%s END", is, text, c.cast)
}
