package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// This file is about steps that no record makes: of timers, of callers of Store.Do, of jobs. A
// copy of an entity that lacked them would go another way. So they are taken from the live
// history as they are, if the machines can make them again: their events take no data, which the
// history does not have. Before anything is read, what was one record or call is applied as one
// record that expects the versions before its steps. It is parked until the copies have these, and
// then is the next step of each. What such a step has done to the row's columns is not known, except
// that of a timer without functions, which has done nothing: their time is that of the transaction.

// note fills table given with these steps.
func (h *shadow) note(ctx context.Context) error {
	timers := uuid(versioning.TimerTopicID)
	noTopics := []string{uuid([16]byte{}), timers, uuid(versioning.DeliveryTopicID)}
	var machines, events []string
	var plain []bool // no function takes the event, so the step changes no column
	for _, t := range h.cfg.Tables {
		for _, e := range t.Machine.Events() {
			if t.Machine.TakesNoData(e) {
				machines, events, plain = append(machines, t.Machine.Name()), append(events, string(e)), append(plain, t.Machine.EventType(e) == nil)
			}
		}
	}
	var some bool // found out by a statement that PostgreSQL runs on several cores
	if err := h.pool.QueryRow(ctx, h.named("SELECT count(*) > 0 FROM {live}.transitions WHERE topic_id = ANY ($1::uuid[])"), noTopics).Scan(&some); err != nil || !some {
		return noteError(err)
	}
	_, err := h.pool.Exec(ctx, h.named(`
INSERT INTO {anew}.given (machine, entity, version, timer, topic_id, partition, "offset")
SELECT h.machine, h.entity, h.version, h.topic_id = $4 AND may.plain, h.topic_id, h.partition, h."offset"
FROM {live}.transitions AS h JOIN unnest($1::text[], $2::text[], $5::boolean[]) AS may(machine, event, plain) ON may.machine = h.machine AND may.event = h.event
JOIN (
	SELECT f.topic_id, f.partition, f."offset" FROM {live}.transitions AS f
	LEFT JOIN unnest($1::text[], $2::text[]) AS may(machine, event) ON may.machine = f.machine AND may.event = f.event
	WHERE f.topic_id = ANY ($3::uuid[]) GROUP BY 1, 2, 3 HAVING bool_and(may.event IS NOT NULL)
) AS o ON o.topic_id = h.topic_id AND o.partition = h.partition AND o."offset" = h."offset"`), machines, events, noTopics, timers, plain)
	if err == nil {
		_, err = h.pool.Exec(ctx, h.named("ANALYZE {anew}.given"))
	}
	return noteError(err)
}

func noteError(err error) error {
	if err != nil {
		err = fmt.Errorf("look for steps that no record makes: %w", err)
	}
	return err
}

// mostGiven returns the largest number of given steps that an entity has: they do not count when
// records wait for it.
func (h *shadow) mostGiven(ctx context.Context) (n int, err error) {
	err = h.pool.QueryRow(ctx, h.named(`SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM {anew}.given GROUP BY machine, entity) AS g`)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count steps that no record makes: %w", err)
	}
	return n, nil
}

// givenAtOnce is how many given steps are read at once.
const givenAtOnce = 5000

// give applies the given steps. Doing that twice changes nothing.
func (r *run) give(ctx context.Context, h *shadow) error {
	var done, total int64
	if err := h.pool.QueryRow(ctx, h.named("SELECT count(*) FROM {anew}.given")).Scan(&total); err != nil {
		return fmt.Errorf("count steps that no record makes: %w", err)
	}
	meter := r.newMeter(stepGiven, 0)
	for after := (givenStep{}); ; {
		rows, err := h.pool.Query(ctx, h.named(`
SELECT g.machine, g.entity, g.version, h.event, h.message_id, h.topic, g.topic_id, g.partition, g."offset", h.at
FROM {anew}.given AS g JOIN {live}.transitions AS h ON h.machine = g.machine AND h.entity = g.entity AND h.version = g.version
WHERE (g.topic_id, g.partition, g."offset") > ($1, $2, $3)
ORDER BY g.topic_id, g.partition, g."offset", g.machine, g.entity, g.version LIMIT $4`), pgtype.UUID{Bytes: after.TopicID, Valid: true}, after.Partition, after.Offset, givenAtOnce)
		if err != nil {
			return fmt.Errorf("read steps that no record makes: %w", err)
		}
		steps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[givenStep])
		if err != nil {
			return fmt.Errorf("read steps that no record makes: %w", err)
		}
		records := recordsOf(steps)
		if len(steps) == givenAtOnce && len(records) > 1 {
			records = records[:len(records)-1] // there may be more of the last one
		}
		if len(records) == 0 {
			return nil
		}
		for _, rec := range records {
			r.to.Prepare(rec)
			r.noteSeveral(rec)
			done += int64(len(rec.Changes))
		}
		if _, _, err := r.apply(ctx, records); err != nil {
			return err
		}
		meter.show(done, total)
		last := records[len(records)-1].Origin
		after = givenStep{TopicID: last.TopicID, Partition: last.Partition, Offset: last.Offset}
	}
}

// A givenStep is a step of the live history.
type givenStep struct {
	Machine, Entity  string
	Version          int64
	Event, MessageID string
	Topic            string
	TopicID          [16]byte
	Partition        int32
	Offset           int64
	At               time.Time
}

// recordsOf returns the records that make steps, which are sorted by their origins.
func recordsOf(steps []givenStep) (records []*versioning.Record) {
	for _, s := range steps {
		origin := versioning.Origin{Topic: s.Topic, TopicID: s.TopicID, Partition: s.Partition, Offset: s.Offset}
		if n := len(records); n == 0 || records[n-1].Origin != origin {
			records = append(records, &versioning.Record{Origin: origin, Timestamp: s.At})
		}
		last := records[len(records)-1]
		last.Changes = append(last.Changes, versioning.Change{
			Machine: s.Machine, Key: s.Entity, Event: statemachine.Event(s.Event), MessageID: s.MessageID, Expected: versioning.At(s.Version - 1),
		})
	}
	return records
}
