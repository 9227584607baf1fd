package pawltest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A database is a backend in PostgreSQL.
type database struct {
	*postgres.Store

	cfg    *Config
	reader *postgres.Reader
	rows   map[string]*rowType
	jobs   *recordedJobs
	timers *databaseTimers
}

func newDatabase(ctx context.Context, cfg *Config, rows map[string]*rowType, start time.Time) (*database, error) {
	d := &database{cfg: cfg, rows: rows, jobs: &recordedJobs{by: make(map[stepOf][]any)}}
	tables := slices.Clone(cfg.Tables)
	for i := range tables {
		tables[i].Queue = d.jobs.through(tables[i].Queue)
	}
	var err error
	if d.Store, err = postgres.OpenIn(ctx, cfg.Pool, cfg.Schema, tables...); err != nil {
		return nil, err
	}
	if d.reader, err = postgres.OpenReader(ctx, cfg.Pool, cfg.Schema, tables...); err != nil {
		return nil, err
	}
	d.timers = newDatabaseTimers(d, start)
	return d, nil
}

func (d *database) apply(ctx context.Context, r *versioning.Record, crash crash) (versioning.Result, error) {
	if crash == crashBeforeCommit {
		return versioning.Result{}, errCrash // the transaction is rolled back
	}
	result, err := d.Apply(ctx, "", []*versioning.Record{r})
	if err == nil {
		err = d.timers.see(ctx)
	}
	if err == nil && crash == crashAfterCommit {
		err = errCrash
	}
	return result, err
}

func (d *database) entity(ctx context.Context, e versioning.Entity) (*Entity, error) {
	got := &Entity{Machine: e.Machine, Key: e.Key}
	for _, read := range []func(context.Context, versioning.Entity, *Entity) error{
		d.readRow, d.readSteps, d.readMessages, d.readWaiting, d.timers.read,
	} {
		if err := read(ctx, e, got); err != nil {
			return nil, err
		}
	}
	got.Jobs = d.jobs.of(e, got.Steps)
	return got, nil
}

// readRow reads the row. Its columns become text.
func (d *database) readRow(ctx context.Context, e versioning.Entity, into *Entity) error {
	l, _ := d.Layout(e.Machine)
	sql := fmt.Sprintf(`
SELECT %[2]s::text, %[3]s::bigint, pg_catalog.to_jsonb(t) FROM %[1]s AS t WHERE %[4]s = $1::text::%[5]s`,
		l.Table, l.State, l.Version, l.Key, l.KeyType)
	var columns map[string]any
	err := d.cfg.Pool.QueryRow(ctx, sql, e.Key).Scan((*string)(&into.State), &into.Version, &columns)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the row: %w", err)
	}
	for _, own := range []string{l.Key, l.State, l.Version} {
		delete(columns, strings.Trim(own, `"`))
	}
	texts, err := d.texts(ctx, e, l, slices.Sorted(maps.Keys(columns)))
	into.Columns = texts
	return err
}

// texts reads columns as text. NULL becomes nil.
func (d *database) texts(ctx context.Context, e versioning.Entity, l postgres.Layout, names []string) (versioning.Columns, error) {
	if len(names) == 0 {
		return nil, nil
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = pgx.Identifier{name}.Sanitize() + "::text"
	}
	values, into := make([]*string, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := d.scan(ctx, e, l, quoted, into); err != nil {
		return nil, err
	}
	texts := make(versioning.Columns, len(names))
	for i, name := range names {
		if texts[name] = nil; values[i] != nil {
			texts[name] = *values[i]
		}
	}
	return texts, nil
}

// scan reads expressions of a row.
func (d *database) scan(ctx context.Context, e versioning.Entity, l postgres.Layout, what []string, into []any) error {
	sql := fmt.Sprintf("SELECT %s FROM %s WHERE %s = $1::text::%s", strings.Join(what, ", "), l.Table, l.Key, l.KeyType)
	if err := d.cfg.Pool.QueryRow(ctx, sql, e.Key).Scan(into...); err != nil {
		return fmt.Errorf("read the columns of %s: %w", e, err)
	}
	return nil
}

func (d *database) columns(ctx context.Context, e versioning.Entity) (rowValues, error) {
	rows := d.rows[e.Machine]
	if rows == nil {
		return nil, nil
	}
	l, _ := d.Layout(e.Machine)
	names, into := make([]string, len(rows.Fields)), make([]any, len(rows.Fields))
	for i, f := range rows.Fields {
		names[i], into[i] = pgx.Identifier{f.Column}.Sanitize(), reflect.New(f.Type).Interface()
	}
	err := d.scan(ctx, e, l, names, into)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	values := make(rowValues, len(names))
	for i, f := range rows.Fields {
		value := reflect.ValueOf(into[i]).Elem()
		if f.Pointer {
			if value.IsNil() {
				continue
			}
			value = value.Elem()
		}
		values[f.Column] = value.Interface()
	}
	return values, nil
}

func (d *database) readSteps(ctx context.Context, e versioning.Entity, into *Entity) error {
	return d.reader.History(ctx, e.Machine, -1, func(s *postgres.HistoryStep) error {
		if s.Key == e.Key {
			into.Steps = append(into.Steps, Step{Version: s.Version, Event: s.Event, From: s.From, To: s.To})
		}
		return nil
	})
}

// allBytes is more than the messages of a test.
const allBytes = 1 << 30

func (d *database) readMessages(ctx context.Context, e versioning.Entity, into *Entity) error {
	if !d.Emits() {
		return nil
	}
	packs, err := d.Packs(ctx, []versioning.Wanted{{Lane: versioning.LaneOf(e), Bytes: allBytes}})
	for _, p := range packs {
		for i := range p.Messages {
			if m := &p.Messages[i]; m.Entity == e {
				into.Messages = append(into.Messages, messageOf(&m.OutMessage, e.Key))
			}
		}
	}
	return err
}

// most limits the parked records and dead letters that are read.
const most = 10_000

// readWaiting reads what is parked, and the dead letters.
func (d *database) readWaiting(ctx context.Context, e versioning.Entity, into *Entity) error {
	parked, err := d.Parked(ctx, postgres.ParkedFilter{Machine: e.Machine, Key: e.Key, Limit: most})
	if err != nil {
		return err
	}
	for _, p := range parked {
		into.Parked = append(into.Parked, Parked{Delivery: numberOf(p.Record.Origin), Reason: p.Reason})
	}
	dead, err := d.DeadLetters(ctx, postgres.DeadLetterFilter{Machine: e.Machine, Key: e.Key, Limit: most})
	for i := range dead {
		into.DeadLetters = append(into.DeadLetters, deadLetter(numberOf(dead[i].Record.Origin), &dead[i].Outcome))
	}
	return err
}

func (d *database) entities(ctx context.Context) (all []versioning.Entity, err error) {
	for _, t := range d.cfg.Tables {
		l, _ := d.Layout(t.Machine.Name())
		rows, err := d.cfg.Pool.Query(ctx, "SELECT "+l.Key+"::text FROM "+l.Table)
		if err != nil {
			return nil, err
		}
		keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			all = append(all, versioning.Entity{Machine: t.Machine.Name(), Key: key})
		}
	}
	slices.SortFunc(all, compareEntities)
	return all, nil
}

// recordedJobs are the jobs of all steps, also of those that were rolled back.
type recordedJobs struct {
	mu sync.Mutex // the store may write concurrently
	by map[stepOf][]any
}

// A stepOf names a step.
type stepOf struct {
	entity  versioning.Entity
	version int64
}

// of returns the jobs of an entity's steps.
func (j *recordedJobs) of(e versioning.Entity, steps []Step) (jobs []any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range steps {
		jobs = append(jobs, j.by[stepOf{e, s.Version}]...)
	}
	return jobs
}

// through returns a queue that records jobs and passes them on to another one, which may be nil.
func (j *recordedJobs) through(to postgres.OutputWriter) postgres.OutputWriter {
	return &jobRecorder{to, j}
}

type jobRecorder struct {
	to   postgres.OutputWriter
	jobs *recordedJobs
}

// CheckJob implements [postgres.JobChecker].
func (r *jobRecorder) CheckJob(job any) error {
	if checker, ok := r.to.(postgres.JobChecker); ok {
		return checker.CheckJob(job)
	}
	return nil
}

// WriteOutputs implements [postgres.OutputWriter].
func (r *jobRecorder) WriteOutputs(ctx context.Context, tx postgres.Tx, steps []postgres.Caused) error {
	r.jobs.mu.Lock()
	for _, s := range steps {
		r.jobs.by[stepOf{s.Entity, s.Version}] = s.Outputs.Jobs
	}
	r.jobs.mu.Unlock()
	if r.to == nil {
		return nil
	}
	return r.to.WriteOutputs(ctx, tx, steps)
}
