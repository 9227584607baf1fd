package replay

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// This file has the statements that replace an entity. In them, {live} stands for the framework's
// schema and {anew} for the shadow, {rows} and {copies} for the tables with the rows, {key},
// {state} and {version} for columns, {is} for the condition that a row is the entity's, and {columns},
// {set} and {values} for the columns that are compared.

const (
	lockSQL = `SELECT count(*) > 0 FROM (SELECT FROM {rows} WHERE {is} FOR UPDATE) AS locked`

	// aboutSQL says whether the topics make the entity, whether it is as they make it, how many
	// steps did not come from what was read, whether steps can't be compared, whether the history
	// begins with the first step, and the versions.
	aboutSQL = `
SELECT EXISTS (SELECT FROM {copies} WHERE {is}),
	NOT EXISTS (
		SELECT FROM (SELECT * FROM {live}.transitions WHERE machine = @machine AND entity = @key) AS l
		FULL JOIN (SELECT * FROM {anew}.transitions WHERE machine = @machine AND entity = @key) AS t ON l.version = t.version
		WHERE (l.event, l.from_state, l.to_state, l.message_id) IS DISTINCT FROM (t.event, t.from_state, t.to_state, t.message_id)
	) AND (SELECT jsonb_build_array({values}) FROM {rows} WHERE {is}) IS NOT DISTINCT FROM (SELECT jsonb_build_array({values}) FROM {copies} WHERE {is}),
	(SELECT count(*) FROM {live}.transitions AS h WHERE h.machine = @machine AND h.entity = @key AND ` + fromElsewhere + `
		AND NOT EXISTS (SELECT FROM {anew}.given AS g WHERE g.machine = @machine AND g.entity = @key AND g.version = h.version AND g.timer)),
	EXISTS (SELECT FROM {anew}.cut WHERE machine = @machine AND entity = @key),
	EXISTS (SELECT FROM {live}.transitions WHERE machine = @machine AND entity = @key AND version = 1),
	coalesce((SELECT {version} FROM {rows} WHERE {is}), 0), coalesce((SELECT {version} FROM {copies} WHERE {is}), 0)`

	// keepSQL keeps what is there.
	keepSQL = `
INSERT INTO {live}.replaced (machine, entity, version, old, history, parked, dead_letters, timers)
SELECT @machine, @key, coalesce((SELECT {version} FROM {rows} WHERE {is}), 0), coalesce((SELECT to_jsonb(o) FROM {rows} AS o WHERE {is}), 'null'),
	coalesce((SELECT jsonb_agg(o ORDER BY o.version) FROM {live}.transitions AS o WHERE o.machine = @machine AND o.entity = @key), '[]'),
	coalesce((SELECT jsonb_agg(o) FROM {live}.parked AS o WHERE o.machine = @machine AND o.entity = @key), '[]'),
	coalesce((SELECT jsonb_agg(o) FROM {live}.dead_letters AS o WHERE o.machine = @machine AND o.entity = @key), '[]'),
	coalesce((SELECT jsonb_agg(o) FROM {live}.timers AS o WHERE o.machine = @machine AND @key = ANY (o.entities)), '[]')`

	updateSQL = `UPDATE {rows} AS l SET {set} FROM {copies} AS t WHERE l.{is} AND t.{is}`
	insertSQL = `INSERT INTO {rows} ({key}, {columns}) OVERRIDING SYSTEM VALUE SELECT {key}, {columns} FROM {copies} WHERE {is}`
	deleteSQL = `DELETE FROM {rows} WHERE {is}`

	// stays is true for a timer a of the entity that the same step of the old and the new history
	// has armed, so that it keeps its time.
	stays = `EXISTS (
		SELECT FROM {anew}.timers AS n CROSS JOIN LATERAL unnest(n.entities, n.versions) AS b(entity, version)
		WHERE n.machine = l.machine AND n.event = l.event AND b.entity = a.entity AND b.version = a.version
	) AND EXISTS (
		SELECT FROM {live}.transitions AS o JOIN {anew}.transitions AS t ON t.machine = o.machine AND t.entity = o.entity AND t.version = o.version
		WHERE o.machine = @machine AND o.entity = @key AND o.version = a.version AND o.message_id = t.message_id AND o.event = t.event
	)`

	// armSQL arms the timers of the new row that are not armed yet.
	armSQL = `
INSERT INTO {live}.timers (due, n, tries, machine, event, entities, versions)
SELECT coalesce(a.due, t.due), 1, 0, t.machine, t.event, ARRAY[a.entity], ARRAY[a.version]
FROM {anew}.timers AS t CROSS JOIN LATERAL unnest(t.entities, t.versions, t.dues) AS a(entity, version, due)
WHERE t.machine = @machine AND a.entity = @key AND NOT EXISTS (
	SELECT FROM {live}.timers AS l CROSS JOIN LATERAL unnest(l.entities, l.versions) AS b(entity, version)
	WHERE l.machine = t.machine AND l.event = t.event AND b.entity = a.entity AND b.version = a.version
)`

	stepColumns   = `machine, entity, version, event, from_state, to_state, message_id, topic, topic_id, partition, "offset", definition_version, digest, at`
	parkedColumns = `topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version, changes, key, value, headers, "timestamp", definition`
	deadColumns   = `topic_id, partition, "offset", scope, topic, verdict, reason, detail, machine, entity, event, key, value, headers, "timestamp", definition`

	wasRead = `EXISTS (SELECT FROM {anew}.ranges AS r WHERE r.topic_id = o.topic_id AND r.partition = o.partition AND o."offset" >= r.first AND o."offset" < r.last)`
)

// historySQL replaces the history. A step that was there keeps its time.
var historySQL = []string{
	`UPDATE {anew}.transitions AS t SET at = o.at FROM {live}.transitions AS o
		WHERE t.machine = @machine AND t.entity = @key AND o.machine = @machine AND o.entity = @key AND o.message_id = t.message_id AND o.event = t.event`,
	`DELETE FROM {live}.transitions WHERE machine = @machine AND entity = @key`,
	`INSERT INTO {live}.transitions (` + stepColumns + `) SELECT ` + stepColumns + ` FROM {anew}.transitions WHERE machine = @machine AND entity = @key`,
}

// timersSQL takes away the timers of the entity that the new history has not armed, before the old
// history is gone. A row of table timers has those of several entities.
var timersSQL = []string{
	`WITH kept AS (
		SELECT l.due, l.id, array_agg(a.entity ORDER BY a.i) AS entities, array_agg(a.version ORDER BY a.i) AS versions, array_agg(a.due ORDER BY a.i) AS dues
		FROM {live}.timers AS l CROSS JOIN LATERAL unnest(l.entities, l.versions, l.dues) WITH ORDINALITY AS a(entity, version, due, i)
		WHERE l.machine = @machine AND @key = ANY (l.entities) AND (a.entity <> @key OR ` + stays + `)
		GROUP BY 1, 2
	), gone AS (
		DELETE FROM {live}.timers AS l WHERE l.machine = @machine AND @key = ANY (l.entities) AND NOT EXISTS (SELECT FROM kept AS k WHERE k.due = l.due AND k.id = l.id)
	)
	UPDATE {live}.timers AS l SET entities = k.entities, versions = k.versions, n = cardinality(k.entities), dues = CASE WHEN l.dues IS NOT NULL THEN k.dues END
	FROM kept AS k WHERE l.machine = @machine AND l.due = k.due AND l.id = k.id AND cardinality(k.entities) < l.n`,
	`DELETE FROM {live}.rearmed WHERE machine = @machine AND entity = @key`,
	`INSERT INTO {live}.rearmed SELECT * FROM {anew}.rearmed WHERE machine = @machine AND entity = @key`,
}

// parkedSQL replaces parked records and dead letters, if they were read. One of several entities
// may be parked for another one now: gone are those that have no place yet. A dead letter stays
// unless the topics apply or park its record. Other parked records are judged again by the next
// sweep.
var parkedSQL = []string{
	`WITH gone AS (
		DELETE FROM {live}.parked AS o WHERE o.machine = @machine AND o.entity = @key AND ` + wasRead + ` RETURNING topic_id, partition, "offset", scope
	), dead AS (
		DELETE FROM {live}.dead_letters AS o WHERE o.machine = @machine AND o.entity = @key AND ` + wasRead + ` AND (
			EXISTS (SELECT FROM {anew}.parked AS p WHERE ` + sameRecord("p") + `)
			OR EXISTS (SELECT FROM {anew}.transitions AS t WHERE t.machine = @machine AND t.entity = @key AND t.topic_id = o.topic_id AND t.partition = o.partition AND t."offset" = o."offset")
		) RETURNING topic_id, partition, "offset", scope
	), parked AS (
		INSERT INTO {live}.parked AS l (` + parkedColumns + `) SELECT ` + parkedColumns + ` FROM {anew}.parked AS o
		WHERE (machine = @machine AND entity <> @key OR machine <> @machine)
			AND (EXISTS (SELECT FROM gone AS g WHERE ` + sameRecord("g") + `) OR EXISTS (SELECT FROM dead AS g WHERE ` + sameRecord("g") + `))
		ON CONFLICT DO NOTHING
	)
	INSERT INTO {live}.dead_letters (` + deadColumns + `) SELECT ` + deadColumns + ` FROM {anew}.dead_letters AS o
	WHERE EXISTS (SELECT FROM gone AS g WHERE ` + sameRecord("g") + `)
	ON CONFLICT DO NOTHING`,
	`UPDATE {live}.parked SET seen_version = -1 WHERE machine = @machine AND entity = @key`,
	`INSERT INTO {live}.parked AS l (` + parkedColumns + `) SELECT ` + parkedColumns + ` FROM {anew}.parked AS o WHERE machine = @machine AND entity = @key AND ` + wasRead + ` ORDER BY seq
		ON CONFLICT (topic_id, partition, "offset", scope) DO UPDATE SET machine = excluded.machine, entity = excluded.entity, reason = excluded.reason, seen_version = -1`,
	`DELETE FROM {live}.dead_letters AS o WHERE ` + wasRead + ` AND EXISTS (SELECT FROM {anew}.parked AS p WHERE p.machine = @machine AND p.entity = @key AND ` + sameRecord("p") + `)`,
	`INSERT INTO {live}.dead_letters (` + deadColumns + `) SELECT ` + deadColumns + ` FROM {anew}.dead_letters AS o WHERE machine = @machine AND entity = @key AND ` + wasRead + `
		AND NOT EXISTS (SELECT FROM {live}.parked AS p WHERE ` + sameRecord("p") + `) ON CONFLICT DO NOTHING`,
}

// sameRecord is true if a row with the given name is of the same record as o.
func sameRecord(row string) string {
	return fmt.Sprintf(`%s.topic_id = o.topic_id AND %[1]s.partition = o.partition AND %[1]s."offset" = o."offset" AND %[1]s.scope = o.scope`, row)
}

// A statements runs the statements of an entity until one fails.
type statements struct {
	tx     pgx.Tx
	values pgx.NamedArgs
	names  *strings.Replacer
	err    error
}

func (b *rebuild) statements(tx pgx.Tx, e versioning.Entity, columns []string) *statements {
	of := b.layout[e.Machine]
	q := &statements{tx: tx, values: pgx.NamedArgs{"machine": e.Machine, "key": e.Key}}
	columns = append([]string{of.live.State, of.live.Version}, columns...)
	set, values := []string{}, []string{}
	for _, c := range columns {
		set, values = append(set, fmt.Sprintf("%s = t.%[1]s", c)), append(values, c+"::text")
	}
	q.names = strings.NewReplacer(
		"{live}", b.live, "{anew}", b.name, "{rows}", of.live.Table, "{copies}", of.copy.Table,
		"{key}", of.live.Key, "{state}", of.live.State, "{version}", of.live.Version,
		"{is}", fmt.Sprintf("%s = @key::text::%s", of.live.Key, of.live.KeyType),
		"{set}", strings.Join(set, ", "), "{values}", strings.Join(values, ", "), "{columns}", strings.Join(columns, ", "),
	)
	return q
}

func (q *statements) row(ctx context.Context, sql string, into ...any) {
	if q.err == nil {
		q.err = q.tx.QueryRow(ctx, q.names.Replace(sql), q.values).Scan(into...)
	}
}

func (q *statements) exec(ctx context.Context, statements ...string) {
	for _, sql := range statements {
		if q.err == nil {
			_, q.err = q.tx.Exec(ctx, q.names.Replace(sql), q.values)
		}
	}
}

// replace keeps what is there, and writes what the topics make.
func (q *statements) replace(ctx context.Context, live, anew bool) {
	q.exec(ctx, keepSQL)
	q.exec(ctx, timersSQL...)
	q.exec(ctx, historySQL...)
	switch {
	case live && anew:
		q.exec(ctx, updateSQL)
	case anew:
		q.exec(ctx, insertSQL)
	case live:
		q.exec(ctx, deleteSQL)
	}
	q.exec(ctx, parkedSQL...)
	q.exec(ctx, armSQL)
}
