package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// This file is about steps that no record makes: of timers, of callers of Store.Do, of jobs. A
// copy of an entity that lacked them would go another way. So they are taken from the live
// history as they are, if the machine can make them again: their events take no data, which the history
// does not have. Before anything is read, each of them is applied as a record that expects the
// version before it. It is parked until the copy has that version, and then is the next step.

// note fills table given with these steps.
func (h *shadow) note(ctx context.Context, ranges []Range) error {
	topics := make([]string, 0, len(ranges))
	for _, r := range ranges {
		topics = append(topics, r.TopicID)
	}
	for _, t := range h.cfg.Tables {
		var events []string
		for _, e := range t.Machine.Events() {
			if t.Machine.TakesNoData(e) {
				events = append(events, string(e))
			}
		}
		_, err := h.pool.Exec(ctx, h.named(`
INSERT INTO {anew}.given SELECT machine, entity, version, topic_id = $4
FROM {live}.transitions WHERE machine = $1 AND event = ANY ($2) AND topic_id <> ALL ($3::uuid[])`), t.Machine.Name(), events, topics, uuid(versioning.TimerTopicID))
		if err != nil {
			return fmt.Errorf("look for steps that no record makes: %w", err)
		}
	}
	if _, err := h.pool.Exec(ctx, h.named("ANALYZE {anew}.given")); err != nil {
		return fmt.Errorf("look for steps that no record makes: %w", err)
	}
	return nil
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

// givenAtOnce is how many given steps are applied at once.
const givenAtOnce = 5000

// give applies the given steps. Doing that twice changes nothing.
func (r *run) give(ctx context.Context, h *shadow) error {
	for after := (givenStep{}); ; {
		rows, err := h.pool.Query(ctx, h.named(`
SELECT g.machine, g.entity, g.version, h.event, h.message_id, h.topic, h.topic_id, h.partition, h."offset", h.at
FROM {anew}.given AS g JOIN {live}.transitions AS h ON h.machine = g.machine AND h.entity = g.entity AND h.version = g.version
WHERE (g.machine, g.entity, g.version) > ($1, $2, $3) ORDER BY g.machine, g.entity, g.version LIMIT $4`), after.Machine, after.Entity, after.Version, givenAtOnce)
		if err != nil {
			return fmt.Errorf("read steps that no record makes: %w", err)
		}
		steps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[givenStep])
		if err != nil {
			return fmt.Errorf("read steps that no record makes: %w", err)
		}
		if len(steps) == 0 {
			return nil
		}
		records := make([]*versioning.Record, len(steps))
		for i, s := range steps {
			records[i] = s.record()
			r.to.Prepare(records[i])
		}
		if _, _, err := r.apply(ctx, records); err != nil {
			return err
		}
		after = steps[len(steps)-1]
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

func (s *givenStep) record() *versioning.Record {
	return &versioning.Record{
		Origin:    versioning.Origin{Topic: s.Topic, TopicID: s.TopicID, Partition: s.Partition, Offset: s.Offset},
		Timestamp: s.At,
		Changes: []versioning.Change{{
			Machine: s.Machine, Key: s.Entity, Event: statemachine.Event(s.Event), MessageID: s.MessageID, Expected: versioning.At(s.Version - 1),
		}},
	}
}
