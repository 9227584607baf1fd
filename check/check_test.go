package check_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// withTickets is a database with schema pawl and a table tickets.
var withTickets = testenv.Template("tickets", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE tickets (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	return errors.Join(err, conn.Close(ctx))
})

// ticket returns a definition of tickets.
func ticket(version int, edit func(*statemachine.Definition)) *statemachine.Machine {
	d := statemachine.Definition{
		Name: "ticket", Version: version,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "assigned", From: statemachine.In("open", "assigned"), To: "assigned"},
			{Event: "solved", From: statemachine.In("open", "assigned"), To: "solved"},
			{Event: "reopened", From: statemachine.In("solved"), To: "open"},
			{Event: "closed", From: statemachine.In("solved"), To: "closed"},
		},
		Terminal: statemachine.In("closed"),
	}
	if edit != nil {
		edit(&d)
	}
	return statemachine.MustCompile(d)
}

// rename gives the state solved another name.
func rename(d *statemachine.Definition) {
	for i := range d.Transitions {
		tr := &d.Transitions[i]
		if tr.To == "solved" {
			tr.To = "resolved"
		}
		for j, s := range tr.From {
			if s == "solved" {
				tr.From[j] = "resolved"
			}
		}
	}
}

func migrated(d *statemachine.Definition) {
	rename(d)
	d.Migrations = []statemachine.Migration{{From: statemachine.In("solved"), To: "resolved"}}
}

func tables(m *statemachine.Machine) []postgres.Table {
	return []postgres.Table{{Machine: m, Name: "tickets"}}
}

// work applies events to tickets: "a opened".
func work(t *testing.T, pool *pgxpool.Pool, m *statemachine.Machine, says ...string) {
	t.Helper()
	store, err := postgres.Open(t.Context(), pool, tables(m)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, say := range says {
		key, event, _ := strings.Cut(say, " ")
		o, err := store.Do(t.Context(), versioning.Change{Key: key, Event: statemachine.Event(event)})
		if err != nil || o.Verdict != versioning.Applied {
			t.Fatalf("%s: %+v, %v", say, o, err)
		}
	}
}

func run(t *testing.T, cfg check.Config) *check.Report {
	t.Helper()
	report, err := check.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wantReport checks the text of a report, without the indentation of the wanted one.
func wantReport(t *testing.T, got *check.Report, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.ReplaceAll(strings.TrimLeft(want, "\n"), "\t", ""), got.String()); diff != "" {
		t.Errorf("report (-want, +got):\n%s", diff)
	}
}

func TestFirst(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withTickets)
	report := run(t, check.Config{Tables: tables(ticket(1, nil)), Pool: pool, History: 100})
	wantReport(t, report, `
		ticket: version 1 is the first
		  history    0 entities with 0 steps, of which 0 depend on data: 0 entities would have ended elsewhere, 0 in the same state in another way
		safe
		`)
	if err := report.Err(true); err != nil || check.ExitStatus(err) != 0 {
		t.Error(err)
	}
}

func TestRenamed(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withTickets)
	work(t, pool, ticket(1, nil), "a opened", "a assigned", "a solved", "b opened", "b solved", "b reopened", "c opened", "c solved", "c closed")
	report := run(t, check.Config{Tables: tables(ticket(2, rename)), Pool: pool, History: 100})
	wantReport(t, report, `
		ticket: from version 1 to 2
		  stranding  state "solved" is gone: entities in it are stranded; declare a Migration from it, or keep the state
		  changed    event "solved" in state "assigned" leads to "resolved", and led to "solved"
		  changed    event "solved" in state "open" leads to "resolved", and led to "solved"
		  harmless   state "resolved" is new
		  stranding  1 in state "solved" would be stranded, such as a
		  history    3 entities with 9 steps, of which 0 depend on data: 1 entities would have ended elsewhere, 2 in the same state in another way
		             2 entities (0 ended elsewhere), such as b, c at version 2: "solved" in state "open" leads to "resolved", and led to "solved"
		             1 entities (1 ended elsewhere), such as a at version 3: "solved" in state "assigned" leads to "resolved", and led to "solved"
		not safe: entities would be stranded, or workers would refuse to start
		`)
	if err := report.Err(false); !errors.Is(err, check.ErrUnsafe) || check.ExitStatus(err) != 1 {
		t.Error(err)
	}

	report = run(t, check.Config{Tables: tables(ticket(2, migrated)), Pool: pool, History: -1})
	wantReport(t, report, `
		ticket: from version 1 to 2
		  changed    event "solved" in state "assigned" leads to "resolved", and led to "solved"
		  changed    event "solved" in state "open" leads to "resolved", and led to "solved"
		  changed    state "solved" is retired: entities in it are migrated to "resolved"
		  harmless   state "resolved" is new
		  migration  1 in state "solved" will be migrated, such as a
		  history    3 entities with 9 steps, of which 0 depend on data: 0 entities would have ended elsewhere, 0 in the same state in another way
		safe, but some records have another outcome than before
		`)
	if report.Err(false) != nil || !errors.Is(report.Err(true), check.ErrUnsafe) {
		t.Error(report.Err(false), report.Err(true))
	}

	// Nothing was registered, and the version in use is safe.
	wantReport(t, run(t, check.Config{Tables: tables(ticket(1, nil)), Pool: pool}), `
		ticket: version 1 is in use
		safe
		`)
	report = run(t, check.Config{Tables: tables(ticket(1, migrated)), Pool: pool})
	if m := report.Machines[0]; !strings.Contains(m.Refused, "increase Definition.Version") || report.Safe {
		t.Errorf("report %s", report)
	}
}

// TestHistory folds histories that end elsewhere, depend on data, have gaps, or were migrated.
func TestHistory(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withTickets)
	work(t, pool, ticket(1, nil), "a opened", "a assigned", "a assigned", "a solved", "a closed", "b opened", "b solved", "c opened", "d opened", "d assigned")
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`UPDATE tickets SET state = 'assigned', version = 2 WHERE id = 'c'`) // another writer
	work(t, pool, ticket(1, nil), "c solved")
	exec(`DELETE FROM pawl.transitions WHERE entity = 'd' AND version = 1`) // was removed

	type row struct{}
	always := func(label string) statemachine.Condition {
		return statemachine.When(label, func(row, struct{}) bool { return true })
	}
	next := ticket(2, func(d *statemachine.Definition) {
		d.Transitions[1].From = statemachine.In("open") // assigned, once only
		d.Transitions[2] = statemachine.Transition{Event: "solved", From: statemachine.In("assigned"), To: "closed", When: always("trivial")}
		d.Transitions = append(d.Transitions,
			statemachine.Transition{Event: "solved", From: statemachine.In("assigned"), To: "solved"},
			statemachine.Transition{Event: "solved", From: statemachine.In("open"), To: "closed"})
	})
	report := run(t, check.Config{Tables: tables(next), Pool: pool, History: 10})
	want := &check.History{
		Entities: 4, Steps: 10, Dependent: 2, Elsewhere: 1, Detours: 1,
		Divergences: []check.Divergence{
			{State: "assigned", Event: "assigned", To: "assigned", Entities: 1, Keys: []string{"a"}, Version: 3},
			{State: "open", Event: "solved", To: "solved", Targets: []statemachine.State{"closed"}, Entities: 1, Elsewhere: 1, Keys: []string{"b"}, Version: 2},
		},
	}
	if diff := cmp.Diff(want, report.Machines[0].History); diff != "" {
		t.Errorf("history (-want, +got):\n%s", diff)
	}
	last := run(t, check.Config{Tables: tables(next), Pool: pool, History: 1}).Machines[0].History
	if last.Entities != 1 || last.Steps != 2 || last.Elsewhere != 0 { // c has moved last
		t.Errorf("history of the last entity: %+v", last)
	}

	// The step of a migration is none with a definition that leads there without it.
	exec(`DELETE FROM pawl.machines`)
	work(t, pool, ticket(1, nil))
	store, err := postgres.Open(t.Context(), pool, tables(ticket(2, migrated))...)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := store.Migrate(t.Context(), postgres.Migration{}); err != nil || done.Moved != 2 {
		t.Fatal(done, err)
	}
	for _, edit := range []func(*statemachine.Definition){migrated, rename} {
		after := run(t, check.Config{Tables: tables(ticket(3, edit)), Pool: pool, History: 10}).Machines[0].History
		if after.Elsewhere != 0 {
			t.Errorf("after a migration: %+v", after)
		}
	}
}

// TestFile compares with a file, with and without a database.
func TestFile(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := check.Write(&b, ticket(1, nil)); err != nil {
		t.Fatal(err)
	}
	old, err := check.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	report := run(t, check.Config{Tables: tables(ticket(2, migrated)), Old: old})
	if m := report.Machines[0]; m.From != 1 || len(m.Changes) != 4 || !report.Safe || report.Same {
		t.Errorf("report %s", report)
	}
	pool := testenv.Pool(t, withTickets)
	work(t, pool, ticket(1, nil), "a opened", "a solved")
	report = run(t, check.Config{Tables: tables(ticket(2, rename)), Old: old, Pool: pool})
	if m := report.Machines[0]; len(m.Rows) != 1 || !m.Rows[0].Stranded || report.Safe {
		t.Errorf("report %s", report)
	}
	text, err := json.Marshal(report)
	if err != nil || !strings.Contains(string(text), `"rows":[{"state":"solved","rows":1,"keys":["a"],"stranded":true}]`) {
		t.Errorf("%s, %v", text, err)
	}
	for _, text := range []string{"", "{}", `{"machines": 1}`, `{"name": "ticket"}`} {
		if _, err := check.Read(strings.NewReader(text)); err == nil {
			t.Errorf("Read(%q) has no error", text)
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	_, err := check.Run(t.Context(), check.Config{History: 3})
	for _, part := range []string{"no tables", "no database", "history"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error does not say %q: %v", part, err)
		}
	}
	if check.ExitStatus(err) != 2 {
		t.Errorf("exit status %d", check.ExitStatus(err))
	}
	pool := testenv.Pool(t)
	_, err = check.Run(t.Context(), check.Config{Tables: tables(ticket(1, nil)), Pool: pool})
	if !errors.Is(err, migrations.ErrSchema) || !errors.Is(err, postgres.ErrTable) || !strings.Contains(err.Error(), "pawl migrate up") {
		t.Errorf("error without a schema: %v", err)
	}
}

// TestLarge checks a table with many rows, and folds all of its history and the end of it. A
// machine that also runs other tests may need more than a second.
func TestLarge(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withTickets)
	fill(t, pool, 10_000)
	began := time.Now()
	report := run(t, check.Config{Tables: tables(ticket(2, migrated)), Pool: pool})
	if took := time.Since(began); took > 10*time.Second || !report.Safe {
		t.Errorf("took %v: %s", took, report)
	}
	report = run(t, check.Config{Tables: tables(ticket(2, migrated)), Pool: pool, History: -1})
	if h := report.Machines[0].History; h.Entities != 10_000 || h.Steps != 50_000 || h.Elsewhere+h.Detours != 0 {
		t.Errorf("history %+v", h)
	}
	report = run(t, check.Config{Tables: tables(ticket(2, migrated)), Pool: pool, History: 1000})
	if h := report.Machines[0].History; h.Entities != 1000 || h.Steps != 5000 {
		t.Errorf("history %+v", h)
	}
}

// fill makes entities with five steps each.
func fill(tb testing.TB, pool *pgxpool.Pool, entities int) {
	tb.Helper()
	for _, sql := range []string{
		`INSERT INTO tickets SELECT md5(n::text), 'solved', 5 FROM generate_series(1, $1) AS n`,
		`INSERT INTO pawl.transitions (version, "offset", partition, definition_version, topic_id, machine, entity, event, from_state, to_state, message_id, topic)
		SELECT s.version, n * 5 + s.version, n % 12, 1, '00000000-0000-0000-0000-000000000001', 'ticket', md5(n::text), s.event, s.before, s.after, 'orders/' || n || '@' || s.version, 'tickets'
		FROM generate_series(1, $1) AS n, (VALUES (1, 'opened', '', 'open'), (2, 'assigned', 'open', 'assigned'), (3, 'solved', 'assigned', 'solved'),
			(4, 'reopened', 'solved', 'open'), (5, 'solved', 'open', 'solved')) AS s(version, event, before, after)`,
	} {
		if _, err := pool.Exec(tb.Context(), sql, entities); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := pool.Exec(tb.Context(), `ANALYZE tickets, pawl.transitions`); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkHistory folds a history of 1,250,000 steps.
func BenchmarkHistory(b *testing.B) {
	pool := testenv.Pool(b, withTickets)
	fill(b, pool, 250_000)
	for _, entities := range []int{-1, 100_000, 1000, 0} {
		b.Run(fmt.Sprintf("entities=%d", entities), func(b *testing.B) {
			steps := int64(0)
			for b.Loop() {
				report, err := check.Run(b.Context(), check.Config{Tables: tables(ticket(2, migrated)), Pool: pool, History: entities})
				if err != nil {
					b.Fatal(err)
				}
				if h := report.Machines[0].History; h != nil {
					steps += h.Steps
				}
			}
			b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "steps/s")
		})
	}
}
