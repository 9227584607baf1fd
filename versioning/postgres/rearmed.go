package postgres

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// rearmed are columns of pawl.rearmed, as parameters for unnest.
type rearmed struct {
	versions                   bigints
	machines, entities, events texts
}

func (r *rearmed) add(e versioning.Entity, event statemachine.Event, version int64) {
	r.versions = append(r.versions, version)
	r.machines = append(r.machines, e.Machine)
	r.entities = append(r.entities, e.Key)
	r.events = append(r.events, string(event))
}

// rearm queues what entities have replaced.
func (w *writer) rearm(r *rearmed) {
	if len(r.versions) > 0 {
		w.batch.Queue(w.store.schema.sql(upsertRearmedSQL), r.versions, r.machines, r.entities, r.events)
	}
}

const upsertRearmedSQL pawlSQL = `
INSERT INTO pawl.rearmed AS r (version, machine, entity, event)
SELECT version, machine, entity, event FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS u(version, machine, entity, event)
ON CONFLICT (entity, machine, event) DO UPDATE SET version = greatest(r.version, excluded.version)`

const readRearmedSQL pawlSQL = `
SELECT u.entity, u.event, r.version
FROM (SELECT pg_catalog.unnest($2::text[]) AS entity, pg_catalog.unnest($3::text[]) AS event OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT version FROM pawl.rearmed WHERE entity = u.entity AND machine = $1 AND event = u.event OFFSET 0
) AS r`

func (r *reader) scanRearmed(rows pgx.Rows, machine string) error {
	var key string
	var event statemachine.Event
	var version int64
	_, err := pgx.ForEachRow(rows, []any{&key, &event, &version}, func() error {
		k := r.view.Entities[versioning.Entity{Machine: machine, Key: key}]
		if k.Rearmed == nil {
			k.Rearmed = make(map[statemachine.Event]int64)
		}
		k.Rearmed[event] = version
		return nil
	})
	return err
}

// forgetRearmed removes the rows of entities that have left the state in which they have
// replaced a timer: all timers from before that are void anyway. Only entities with a timer
// whose event is settled now are looked at. That is usually so for the last timer that an
// entity has armed. A few rows stay, which do no harm: those of entities whose last timer has
// become a dead letter, for example.
func (w *writer) forgetRearmed(c *script) {
	settled := c.settledTimers()
	if len(settled) == 0 || !slices.ContainsFunc(w.store.tables, func(t *table) bool { return t.Machine.RowType() != nil }) {
		return
	}
	entered := make(map[versioning.Entity]int64)
	for _, m := range c.moves {
		for i := range m.Steps {
			if s := &m.Steps[i]; s.From != s.To {
				entered[m.Entity] = s.Version
			}
		}
	}
	var left rearmed
	// In the order of upserts: PostgreSQL usually takes the rows as they come, and then
	// transactions wait for each other without a deadlock.
	slices.SortFunc(settled, func(a, b *versioning.Record) int { return strings.Compare(a.Changes[0].Key, b.Changes[0].Key) })
	for _, r := range settled {
		e, event := r.Entity(0), r.Changes[0].Event
		version := entered[e]
		if c.firing != nil {
			if k := c.firing.view.Entities[e]; k != nil {
				version = max(version, k.Entered)
			}
		}
		if version > 0 {
			left.add(e, event, version)
		}
	}
	if len(left.versions) > 0 {
		w.batch.Queue(w.store.schema.sql(deleteRearmedSQL), left.versions, left.machines, left.entities, left.events)
	}
}

// settledTimers returns the records of timers that are settled: those that fire, those that
// were parked, and those that were dead letters.
func (c *script) settledTimers() (settled []*versioning.Record) {
	if c.firing != nil {
		settled = slices.Clone(c.firing.records[:len(c.plan.Outcomes)])
	}
	for _, some := range [][]versioning.Settled{c.plan.Release, c.plan.Revive} {
		for _, s := range some {
			if s.Record.IsTimer() {
				settled = append(settled, s.Record)
			}
		}
	}
	return settled
}

// deleteRearmedSQL removes the rows of entities that have entered a state at the versions $1
// or later.
const deleteRearmedSQL pawlSQL = `
DELETE FROM pawl.rearmed AS r
USING unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS u(version, machine, entity, event)
WHERE r.entity = u.entity AND r.machine = u.machine AND r.event = u.event AND r.version <= u.version`
