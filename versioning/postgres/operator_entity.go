package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// An EntityQuery says which entity to read, and which part of its history.
type EntityQuery struct {
	Entity versioning.Entity

	// Before skips the steps to this version or a higher one; 0 means none. Steps limits how many
	// steps are returned, and how many parked records, dead letters, timers and unsent messages.
	// 0 means 100.
	Before int64
	Steps  int
}

// An EntityView is what a database has about an entity.
type EntityView struct {
	Now    time.Time // by the database's clock
	Entity versioning.Entity
	Table  string // quoted; empty if none is registered

	// Row is nil if there is no row. TableProblem says why the table can't be read, if it can't.
	Row          *EntityRow
	TableProblem string

	// History has the last steps, in the order in which they were made. Earlier means that there
	// are steps before them.
	History []EntityStep
	Earlier bool

	Parked      []ParkedItem
	DeadLetters []versioning.DeadLetter
	Unsent      []versioning.UnsentMessage

	// Timers may hold no more: see [ArmedTimer]. MoreTimers means that there are so many timers of
	// the machine that only those that are due first were looked at.
	Timers     []ArmedTimer
	MoreTimers bool
}

// Found reports whether there is anything about the entity.
func (v *EntityView) Found() bool {
	return v.Row != nil || len(v.History)+len(v.Parked)+len(v.DeadLetters)+len(v.Timers)+len(v.Unsent) > 0
}

// An EntityRow is the row of an entity. Columns has all columns, as a JSON object.
type EntityRow struct {
	State   statemachine.State
	Version int64
	Columns json.RawMessage
}

// An EntityStep is a step in the history of an entity.
type EntityStep struct {
	Version    int64 // of the row after the step
	Event      statemachine.Event
	From, To   statemachine.State // From is empty if the step created the entity
	At         time.Time
	Definition int // the version of the machine
	MessageID  string
	Origin     versioning.Origin
}

// Entity returns what the database has about an entity. The key is in the form of the table's
// column: "42" and "042" are one key of a bigint.
func (o *Operator) Entity(ctx context.Context, q EntityQuery) (*EntityView, error) {
	v := &EntityView{Entity: q.Entity}
	limit := cmp.Or(max(q.Steps, 0), defaultLimit)
	err := errors.Join(o.row(ctx, v), o.steps(ctx, v, q.Before, limit))
	if err != nil {
		return nil, withCause(fmt.Errorf("read %s: %w", q.Entity, err))
	}
	e := v.Entity // its key is canonical now
	if v.Parked, err = o.Parked(ctx, ParkedQuery{Machine: e.Machine, Key: e.Key, Limit: limit}); err != nil {
		return nil, err
	}
	if v.DeadLetters, err = o.DeadLetters(ctx, DeadLetterFilter{Machine: e.Machine, Key: e.Key, Limit: limit}); err != nil {
		return nil, err
	}
	if v.Timers, v.MoreTimers, err = o.Timers(ctx, TimerFilter{Machine: e.Machine, Key: e.Key, Limit: limit}); err != nil {
		return nil, err
	}
	v.Unsent, err = o.unsentOf(ctx, e, limit)
	return v, err
}

// row reads the row, and sets the key to its canonical form.
func (o *Operator) row(ctx context.Context, v *EntityView) error {
	if err := o.pool.QueryRow(ctx, `SELECT clock_timestamp()`, oneMessage).Scan(&v.Now); err != nil {
		return err
	}
	tables, err := o.tables(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(tables, func(t entityTable) bool { return t.machine == v.Entity.Machine })
	if at < 0 {
		return nil
	}
	v.Table = tables[at].ident
	l, err := o.layout(ctx, tables[at])
	if errors.Is(err, ErrTable) || errors.Is(err, errNoEntityTable) {
		v.TableProblem = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	sql := fmt.Sprintf(`SELECT %[1]s::text, %[2]s::text, %[3]s::bigint, to_jsonb(t) FROM %[4]s AS t WHERE %[1]s = $1::text::%[5]s`,
		quote(l.key), quote(l.state), quote(l.version), l.ident, l.keyType)
	var r EntityRow
	switch err := o.pool.QueryRow(ctx, sql, oneMessage, v.Entity.Key).Scan(&v.Entity.Key, &r.State, &r.Version, &r.Columns); {
	case err == nil:
		v.Row = &r
	case errors.Is(err, pgx.ErrNoRows), isCode(err, invalidText, outOfRange): // not a key of this type
	case isCode(err, undefinedColumn):
		v.TableProblem = fmt.Sprintf("table %s: the columns of state and version are not registered; start a worker of this version", l.ident)
	default:
		return fmt.Errorf("read the row in table %s: %w", l.ident, err)
	}
	return nil
}

// steps reads the last steps.
func (o *Operator) steps(ctx context.Context, v *EntityView, before int64, limit int) error {
	rows, err := o.pool.Query(ctx, o.schema.sql(lastStepsSQL), oneMessage, v.Entity.Machine, v.Entity.Key, before, limit+1)
	if err == nil {
		v.History, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s EntityStep, err error) {
			err = row.Scan(&s.Version, &s.Event, &s.From, &s.To, &s.At, &s.Definition, &s.MessageID,
				&s.Origin.Topic, &s.Origin.TopicID, &s.Origin.Partition, &s.Origin.Offset)
			return s, err
		})
	}
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	if v.Earlier = len(v.History) > limit; v.Earlier {
		v.History = v.History[:limit]
	}
	slices.Reverse(v.History)
	return nil
}

const lastStepsSQL pawlSQL = `
SELECT version, event, from_state, to_state, at, definition_version, message_id, topic, topic_id, partition, "offset"
FROM pawl.transitions WHERE machine = $1 AND entity = $2 AND ($3 <= 0 OR version < $3) ORDER BY version DESC LIMIT $4`

// unsentOf returns the unsent messages of an entity. Their IDs begin with the entity, and are
// indexed. So do those of entities whose key goes on with a slash.
func (o *Operator) unsentOf(ctx context.Context, e versioning.Entity, limit int) ([]versioning.UnsentMessage, error) {
	id := (&versioning.Emitted{Entity: e}).ID()
	prefix := id[:len(id)-len("/0/0")]
	rows, err := o.pool.Query(ctx, o.schema.sql(unsentOfSQL), oneMessage, prefix+"/", prefix+"0", e.Machine, e.Key, limit) // 0 follows /
	var all []versioning.UnsentMessage
	if err == nil {
		all, err = pgx.CollectRows(rows, scanUnsent)
	}
	if err != nil {
		return nil, withCause(fmt.Errorf("read the unsent messages of %s: %w", e, err))
	}
	return all, nil
}

const unsentOfSQL pawlSQL = `
SELECT ` + unsentColumns + ` FROM pawl.unsent WHERE message_id >= $1 AND message_id < $2 AND machine = $3 AND entity = $4 ORDER BY version, index LIMIT $5`
