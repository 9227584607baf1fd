package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// TestConformance runs the suite on each version of the schema that this build ships
// and works with.
func TestConformance(t *testing.T) {
	t.Parallel()
	for version := migrations.Oldest; version <= migrations.Version; version++ {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, migrated)
			downTo(t, pool, version)
			conform(t, pool, pool, migrations.DefaultSchema)
		})
	}
}

// TestConformanceInAnotherSchema runs the suite in a database without a schema pawl,
// with a schema that is newer than this build. The suite takes long, so one run checks
// both.
func TestConformanceInAnotherSchema(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, inOddSchema)
	mustExec(t, pool, in(oddSchema, expand))
	conform(t, pool, pool, oddSchema)
}

// oddSchema is a name that needs quotes, in SQL and for goose.
const oddSchema = `my "odd" pawl.schema; --'%d`

var inOddSchema = testenv.Template("odd", func(ctx context.Context, url string) error {
	return migrate.UpIn(ctx, url, oddSchema)
})

// conform runs the suite on a store of one pool, and inspects the database through
// another. Opening a store costs more than a case of the suite, and all cases have the same
// rules, so they share the store.
func conform(t *testing.T, pool, stores *pgxpool.Pool, schema string) {
	t.Helper()
	var store *postgres.Store
	var empty string
	versioningtest.Run(t, func(t *testing.T, rules []versioning.Rules) versioningtest.Harness {
		t.Helper()
		if store == nil {
			mustExec(t, pool, `CREATE TABLE queued (n bigserial, machine text, entity text, event text, version bigint, job text)`)
			empty = `DELETE FROM queued; DELETE FROM pawl.transitions; DELETE FROM pawl.parked; DELETE FROM pawl.dead_letters; DELETE FROM pawl.marks;
				DELETE FROM pawl.timers; DELETE FROM pawl.rearmed; DELETE FROM pawl.outbox;
				DELETE FROM pawl.machines AS m WHERE EXISTS (SELECT FROM pawl.machines WHERE name = m.name AND version < m.version)`
			for _, r := range rules {
				name := pgx.Identifier{r.Machine.Name()}.Sanitize()
				mustExec(t, pool, `CREATE TABLE `+name+
					` (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, note text, place text,
					debits bigint NOT NULL DEFAULT 0, balance bigint NOT NULL DEFAULT 0, credit bigint, notes text[])`)
				empty += `; DELETE FROM ` + name
			}
			store = openIn(t, stores, schema, tablesOf(rules)...)
		}
		mustExec(t, pool, in(schema, empty))
		d := &database{t, pool, stores, store, schema}
		return versioningtest.Harness{Store: d, Contents: d}
	})
}

// tablesOf returns the tables for machines of the suite.
func tablesOf(rules []versioning.Rules) (tables []postgres.Table) {
	for _, r := range rules {
		table := postgres.Table{Machine: r.Machine, Name: r.Machine.Name(), Identity: r.Identity, MaxParked: r.MaxParked}
		if r.KeepUnknown {
			table.KeepUnknown = time.Hour
		}
		if r.CheckJob != nil {
			table.Queue = queue{}
		}
		tables = append(tables, table)
	}
	return tables
}

// queue writes jobs, which are strings, to a table.
type queue struct{}

func (queue) WriteOutputs(_ context.Context, tx postgres.Tx, steps []postgres.Caused) error {
	for _, s := range steps {
		for _, job := range s.Outputs.Jobs {
			tx.Queue(`INSERT INTO queued (machine, entity, event, version, job) VALUES ($1, $2, $3, $4, $5)`,
				s.Entity.Machine, s.Entity.Key, string(s.Event), s.Version, job)
		}
	}
	return nil
}

// database is the store under test, and inspects PostgreSQL for the suite.
type database struct {
	t      *testing.T
	pool   *pgxpool.Pool
	stores *pgxpool.Pool // of the store
	*postgres.Store
	in string // the framework's schema
}

// Define opens the store again with other versions of the machines.
func (d *database) Define(rules ...versioning.Rules) {
	d.t.Helper()
	d.Store = openIn(d.t, d.stores, d.in, tablesOf(rules)...)
}

func (d *database) Row(e versioning.Entity) (row versioningtest.Row, ok bool) {
	d.t.Helper()
	var note, place *string
	var debits, balance int64
	var credit *int64
	var notes []string
	err := d.pool.QueryRow(d.t.Context(), `SELECT state, version, note, place, debits, balance, credit, notes FROM `+
		pgx.Identifier{e.Machine}.Sanitize()+` WHERE id = $1`, e.Key).
		Scan(&row.State, &row.Version, &note, &place, &debits, &balance, &credit, &notes)
	if errors.Is(err, pgx.ErrNoRows) {
		return row, false
	}
	if err != nil {
		d.t.Fatal(err)
	}
	row.Columns = make(versioning.Columns)
	for name, value := range map[string]*string{"note": note, "place": place} {
		if value != nil {
			row.Columns[name] = *value
		}
	}
	if e.Machine == "wallet" {
		row.Columns["balance"] = balance
		if credit != nil {
			row.Columns["credit"] = *credit
		}
		if notes != nil {
			row.Columns["notes"] = notes
		}
	}
	if len(row.Columns) == 0 {
		row.Columns = nil
	}
	return row, true
}

func (d *database) History(e versioning.Entity) []versioningtest.Transition {
	d.t.Helper()
	rows, err := d.pool.Query(d.t.Context(), in(d.in, `
SELECT version, event, from_state, to_state, message_id, topic, topic_id, partition, "offset", definition_version
FROM pawl.transitions WHERE machine = $1 AND entity = $2 ORDER BY version`), e.Machine, e.Key)
	if err != nil {
		d.t.Fatal(err)
	}
	steps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s versioningtest.Transition, err error) {
		return s, row.Scan(&s.Version, &s.Event, &s.From, &s.To, &s.MessageID, &s.Origin.Topic, &s.Origin.TopicID,
			&s.Origin.Partition, &s.Origin.Offset, &s.Definition)
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return steps
}

func (d *database) Parked() (all []versioningtest.Parked) {
	d.t.Helper()
	parked, err := d.Store.Parked(d.t.Context(), postgres.ParkedFilter{Limit: 1000})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, p := range parked {
		all = append(all, versioningtest.Parked{Origin: p.Record.Origin, Entity: p.Entity, Reason: p.Reason, Seen: p.Seen, Definition: p.Definition})
	}
	return all
}

func (d *database) DeadLetters() (all []versioningtest.DeadLetter) {
	d.t.Helper()
	letters, err := d.Store.DeadLetters(d.t.Context(), postgres.DeadLetterFilter{Limit: 1000})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, l := range letters {
		r := l.Record
		all = append(all, versioningtest.DeadLetter{
			Origin: r.Origin, Key: r.Key, Value: r.Value, Headers: r.Headers,
			Timestamp: r.Timestamp.UnixMilli(), Outcome: l.Outcome,
		})
	}
	return all
}

func (d *database) Jobs() []versioningtest.Job {
	d.t.Helper()
	rows, err := d.pool.Query(d.t.Context(), `SELECT machine, entity, event, version, job FROM queued ORDER BY n`)
	if err != nil {
		d.t.Fatal(err)
	}
	jobs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (j versioningtest.Job, err error) {
		var job string
		err = row.Scan(&j.Entity.Machine, &j.Entity.Key, &j.Event, &j.Version, &job)
		j.Job = job
		return j, err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return jobs
}

func (d *database) Timers() []versioningtest.Timer {
	d.t.Helper()
	armed, err := d.Store.Timers(d.t.Context(), postgres.TimerFilter{})
	if err != nil {
		d.t.Fatal(err)
	}
	all := make([]versioningtest.Timer, len(armed))
	for i, a := range armed {
		all[i] = versioningtest.Timer{Entity: a.Entity, Timer: a.Timer}
	}
	return all
}

func (d *database) Messages() (messages []versioningtest.Message) {
	d.t.Helper()
	for lane := range versioning.Lanes {
		packs, err := d.Packs(d.t.Context(), []versioning.Wanted{{Lane: lane, Bytes: 1 << 30}})
		if err != nil {
			d.t.Fatal(err)
		}
		for _, p := range packs {
			for _, m := range p.Messages {
				messages = append(messages, versioningtest.Message{
					Entity: m.Entity, Event: m.Event, Version: m.Version, Index: m.Index, Time: m.Time, OutMessage: m.OutMessage,
				})
			}
		}
	}
	return messages
}

func (d *database) Put(e versioning.Entity, row versioningtest.Row) {
	d.t.Helper()
	mustExec(d.t, d.pool, `INSERT INTO `+pgx.Identifier{e.Machine}.Sanitize()+` VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, version = excluded.version`, e.Key, row.State, row.Version)
}

func (d *database) Delete(e versioning.Entity) {
	d.t.Helper()
	mustExec(d.t, d.pool, `DELETE FROM `+pgx.Identifier{e.Machine}.Sanitize()+` WHERE id = $1`, e.Key)
}
