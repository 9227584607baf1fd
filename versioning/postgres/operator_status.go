package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// A Status is what a database has, in numbers. Counting stops early, so that it takes less than a
// second however much there is.
type Status struct {
	Now           time.Time // by the database's clock
	SchemaVersion int64

	// MessageHashes reports whether the history's primary key includes hashes of message IDs. A
	// history that had steps before version 9 of the schema gets them by hand; docs/upgrading.md
	// says how.
	MessageHashes bool

	Machines []MachineStatus // by name; those that are not registered come last

	Outbox OutboxStatus
	Unsent Count

	// Marks say how far each group has settled each partition. MoreMarks means that there are
	// more of them than these.
	Marks     []GroupMark
	MoreMarks bool
}

// A MachineStatus is what a database has of a machine.
type MachineStatus struct {
	RegisteredMachine // Name is empty for dead letters that name no machine

	// Rows are those of the entity table, and States has them by state. If TableProblem is not
	// empty, it says why the table can't be read.
	Rows         Count
	States       []StateRows
	TableProblem string

	Parked      KeptStatus
	DeadLetters KeptStatus
	Timers      versioning.TimerCounts

	// CaughtUp is when the partition that is furthest behind was last read to its end; zero if
	// that is unknown.
	CaughtUp time.Time
}

// A KeptStatus counts parked records or dead letters.
type KeptStatus struct {
	Count    Count
	ByReason []ReasonCount // of those that were counted, the most frequent first

	// Oldest and Newest are zero if there are none. If Count.AtLeast is set, there may be an older
	// and a newer one.
	Oldest, Newest time.Time
}

// A ReasonCount is how many records are kept for a reason.
type ReasonCount struct {
	Reason versioning.Reason
	N      int64
}

// An OutboxStatus is what the outbox has. Oldest is zero if it is empty.
type OutboxStatus struct {
	Packs, Messages Count
	Oldest          time.Time
}

// A GroupMark is how far a group has settled a partition, and when the mark was last written.
type GroupMark struct {
	versioning.Mark

	Group string
	At    time.Time
}

const (
	countedKept  = 10_000 // limits the parked records and dead letters that are counted, of each machine
	countedPacks = 10_000
	maxMarks     = 10_000
)

// Status returns what the database has.
func (o *Operator) Status(ctx context.Context) (*Status, error) {
	s := &Status{}
	err := o.totals(ctx, s)
	if err == nil {
		s.MessageHashes, err = o.schema.isHashed(ctx, o.pool)
	}
	if err == nil {
		err = o.machineStatus(ctx, s)
	}
	if err != nil {
		return nil, withCause(fmt.Errorf("read the status: %w", err))
	}
	return s, nil
}

// totals reads what does not belong to a machine.
func (o *Operator) totals(ctx context.Context, s *Status) error {
	var oldest *time.Time
	err := o.pool.QueryRow(ctx, o.schema.sql(totalsSQL), oneMessage, countedPacks+1, versioning.Lanes).
		Scan(&s.Now, &s.SchemaVersion, &s.Outbox.Packs.N, &s.Outbox.Messages.N, &oldest, &s.Unsent.N)
	if err != nil {
		return err
	}
	if oldest != nil {
		s.Outbox.Oldest = *oldest
	}
	s.Outbox.Packs.AtLeast = s.Outbox.Packs.N > countedPacks
	s.Outbox.Messages.AtLeast = s.Outbox.Packs.AtLeast
	s.Unsent.AtLeast = s.Unsent.N > countedPacks
	rows, err := o.pool.Query(ctx, o.schema.sql(allMarksSQL), oneMessage, maxMarks+1)
	if err == nil {
		s.Marks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m GroupMark, err error) {
			err = row.Scan(&m.Group, &m.Topic, &m.TopicID, &m.Partition, &m.Offset, &m.At)
			return m, err
		})
	}
	if s.MoreMarks = len(s.Marks) > maxMarks; s.MoreMarks {
		s.Marks = s.Marks[:maxMarks]
	}
	return err
}

// totalsSQL finds the oldest message by the first pack of each of the $2 lanes.
const totalsSQL pawlSQL = `
SELECT clock_timestamp(), (
	SELECT coalesce(max(version_id), 0) FROM (
		SELECT DISTINCT ON (version_id) version_id, is_applied FROM pawl.goose_db_version ORDER BY version_id, id DESC
	) AS v WHERE is_applied
), o.packs, o.messages, (
	SELECT min(p.at) FROM generate_series(0, $2 - 1) AS l(lane)
	CROSS JOIN LATERAL (SELECT at FROM pawl.outbox WHERE lane = l.lane ORDER BY id LIMIT 1) AS p
), (SELECT count(*) FROM (SELECT FROM pawl.unsent LIMIT $1) AS u)
FROM (SELECT count(*) AS packs, coalesce(sum(n), 0)::bigint AS messages FROM (SELECT n FROM pawl.outbox LIMIT $1) AS s) AS o`

const allMarksSQL pawlSQL = `
SELECT "group", topic, topic_id, partition, "offset", at FROM pawl.marks ORDER BY "group", topic, topic_id, partition LIMIT $1`

// machineStatus reads what belongs to machines.
func (o *Operator) machineStatus(ctx context.Context, s *Status) error {
	registered, err := o.Machines(ctx)
	if err != nil {
		return err
	}
	tables, err := o.tables(ctx)
	if err != nil {
		return err
	}
	for _, m := range registered {
		s.Machines = append(s.Machines, MachineStatus{RegisteredMachine: m})
	}
	if err := o.unregistered(ctx, s); err != nil {
		return err
	}
	for i := range s.Machines {
		m := &s.Machines[i]
		if err := o.kept(ctx, m); err != nil {
			return err
		}
		if at := slices.IndexFunc(tables, func(t entityTable) bool { return t.machine == m.Name }); at >= 0 {
			if err := o.rowStatus(ctx, tables[at], m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Operator) rowStatus(ctx context.Context, t entityTable, m *MachineStatus) error {
	l, err := o.layout(ctx, t)
	if err == nil {
		m.Rows, m.States, err = o.rowsByState(ctx, l)
	}
	if errors.Is(err, ErrTable) || errors.Is(err, errNoEntityTable) {
		m.TableProblem, err = err.Error(), nil
	}
	return err
}

// unregistered adds the machines that only parked records, dead letters or timers name.
func (o *Operator) unregistered(ctx context.Context, s *Status) error {
	rows, err := o.pool.Query(ctx, o.schema.sql(namedSQL), oneMessage)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		if !slices.ContainsFunc(s.Machines, func(m MachineStatus) bool { return m.Name == name }) {
			s.Machines = append(s.Machines, MachineStatus{RegisteredMachine: RegisteredMachine{Name: name}})
		}
	}
	return err
}

// namedSQL returns the machines that rows name. It looks up one after another in an index.
const namedSQL pawlSQL = `
WITH RECURSIVE parked AS (
	SELECT min(machine) AS machine FROM pawl.parked
	UNION ALL
	SELECT (SELECT min(t.machine) FROM pawl.parked AS t WHERE t.machine > p.machine) FROM parked AS p WHERE p.machine IS NOT NULL
), dead AS (
	SELECT min(machine) AS machine FROM pawl.dead_letters
	UNION ALL
	SELECT (SELECT min(t.machine) FROM pawl.dead_letters AS t WHERE t.machine > p.machine) FROM dead AS p WHERE p.machine IS NOT NULL
), timers AS (
	SELECT min(machine) AS machine FROM pawl.timers
	UNION ALL
	SELECT (SELECT min(t.machine) FROM pawl.timers AS t WHERE t.machine > p.machine) FROM timers AS p WHERE p.machine IS NOT NULL
)
SELECT machine FROM (SELECT * FROM parked UNION SELECT * FROM dead UNION SELECT * FROM timers) AS m WHERE machine IS NOT NULL ORDER BY machine`
