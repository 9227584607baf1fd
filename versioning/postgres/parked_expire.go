package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// This file makes dead letters of records that have been parked for too long.

// expire makes dead letters of the records that have waited too long.
func (s *snapshot) expire(ctx context.Context, t *table) (expired int, err error) {
	if t.ParkFor < 0 {
		return 0, nil
	}
	for {
		tag, err := s.pool.Exec(ctx, s.schema.sql(expireSQL), oneMessage, t.Machine.Name(), t.ParkFor, sweepLimit, partitionGone)
		expired += int(tag.RowsAffected())
		if err != nil || tag.RowsAffected() < sweepLimit {
			return expired, err
		}
	}
}

// expireSQL turns parked records into dead letters: $1 machine, $2 how long they may
// wait by the machine's clock, $3 limit, $4 partitionGone. If no partition is known,
// there is no clock and nothing expires. It skips rows that another transaction has
// locked.
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
                               machine, entity, event, key, value, headers, "timestamp", definition)
SELECT topic_id, partition, "offset", scope, topic, 'rejected', 'parked_too_long',
       format('waited for the entity for longer than %s in which all partitions were read: %s, last judged at version %s',
              $2::interval, reason, seen_version),
       machine, entity, coalesce(changes->0->>'event', ''), key, value, headers, "timestamp", definition
FROM expired
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`

// expireUnknown makes dead letters of the records whose event has been unknown for too long, and
// returns the entities for which later records may have waited behind them.
func (s *snapshot) expireUnknown(ctx context.Context, t *table) (expired int, blocked []string, err error) {
	for more := sweepLimit; more == sweepLimit && err == nil; {
		var rows pgx.Rows
		rows, err = s.pool.Query(ctx, s.schema.sql(expireUnknownSQL), oneMessage, t.Machine.Name(), t.KeepUnknown, sweepLimit, s.knownEvents(t))
		if err != nil {
			break
		}
		before := len(blocked)
		blocked, err = pgx.AppendRows(blocked, rows, pgx.RowTo[string])
		more = len(blocked) - before
		expired += more
	}
	slices.Sort(blocked)
	return expired, slices.Compact(blocked), err
}

// knownEvents returns the events of a table's machine, and those of its newer definitions.
func (s *snapshot) knownEvents(t *table) (events texts) {
	for _, e := range t.Machine.Events() {
		events = append(events, string(e))
	}
	for _, o := range s.rules[t.Machine.Name()].Newer {
		for _, a := range o.Arrows {
			events = append(events, string(a.Event))
		}
	}
	return events
}

// expireUnknownSQL turns records parked for an unknown event into dead letters: $1 machine, $2 how
// long they may wait, $3 limit, $4 the events that are known now. What they wait for is a deploy, so
// it is the server's clock that counts. It returns the entity of each.
const expireUnknownSQL pawlSQL = `
WITH expired AS (
	DELETE FROM pawl.parked AS p USING (
		SELECT topic_id, partition, "offset", scope, (
			SELECT c->>'event' FROM jsonb_array_elements(changes) AS c
			WHERE c->>'machine' = machine AND c->>'key' = entity AND c->>'event' <> ALL ($4::text[]) LIMIT 1
		) AS event FROM pawl.parked
		WHERE machine = $1 AND reason = 'unknown_event' AND parked_at <= now() - $2::interval
			AND EXISTS (
				SELECT FROM jsonb_array_elements(changes) AS c
				WHERE c->>'machine' = machine AND c->>'key' = entity AND c->>'event' <> ALL ($4::text[])
			)
		ORDER BY parked_at LIMIT $3 FOR UPDATE SKIP LOCKED
	) AS old
	WHERE p.topic_id = old.topic_id AND p.partition = old.partition AND p."offset" = old."offset"
		AND p.scope = old.scope
	RETURNING p.*, old.event
), buried AS (
	INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail,
	                               machine, entity, event, key, value, headers, "timestamp", definition)
	SELECT topic_id, partition, "offset", scope, topic, 'rejected', 'unknown_event',
	       format('machine "%s" version %s has no event "%s", and no version that has it was registered within %s', machine, definition, event, $2::interval),
	       machine, entity, event, key, value, headers, "timestamp", definition
	FROM expired
	ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING
)
SELECT entity FROM expired`
