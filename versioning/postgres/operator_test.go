package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func openOperator(t *testing.T, pool *pgxpool.Pool, schema string) *postgres.Operator {
	t.Helper()
	o, err := postgres.OpenOperator(t.Context(), pool, schema)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// states returns the rows of a machine by state.
func states(m *postgres.MachineStatus) string {
	var all []string
	for _, s := range m.States {
		all = append(all, fmt.Sprintf("%s %d", s.State, s.Count.N))
	}
	return strings.Join(all, ", ")
}

func TestOperatorStatus(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"", oddSchema} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			template := withOrders
			if schema != "" {
				template = inOddSchema
			}
			pool := testenv.Pool(t, template)
			if schema != "" {
				mustExec(t, pool, `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
			}
			store := openIn(t, pool, schema, postgres.Table{Machine: order, Name: "orders"})
			var l log
			apply(t, store, l.say("a", "placed"), l.say("b", "placed"), l.say("b", "captured"), l.say("c", "captured"), l.say("d", "nosuch"),
				l.say("a", "delivered"), l.record(versioning.Change{Machine: "invoice", Key: "1", Event: "sent"}))
			_, server, err := store.Marks(t.Context(), "g", nil)
			if err != nil {
				t.Fatal(err)
			}
			mark := versioning.Mark{Topic: "orders", TopicID: [16]byte{1}, Offset: 7}
			if err := store.SetMarks(t.Context(), "g", server, []versioning.Mark{mark}); err != nil {
				t.Fatal(err)
			}
			s, err := openOperator(t, pool, schema).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkStatus(t, s)
			mustExec(t, pool, in(schema, keyWithoutHashes))
			if s, err = openOperator(t, pool, schema).Status(t.Context()); err != nil || s.MessageHashes {
				t.Errorf("without hashes in the key: %+v, %v", s, err)
			}
			machines, err := openOperator(t, pool, schema).Machines(t.Context())
			if err != nil || len(machines) != 1 || machines[0].Definitions[0].By == "" || machines[0].Definitions[0].At.IsZero() {
				t.Errorf("Machines = %+v, %v", machines, err)
			}
		})
	}
}

func checkStatus(t *testing.T, s *postgres.Status) {
	t.Helper()
	if s.SchemaVersion != migrations.Version || time.Since(s.Now).Abs() > time.Minute || len(s.Machines) != 2 || !s.MessageHashes {
		t.Fatalf("Status = %+v", s)
	}
	m, invoice := &s.Machines[0], &s.Machines[1]
	if m.Name != "order" || m.Rows.N != 2 || states(m) != "paid 1, pending 1" || m.Table != `"public"."orders"` || len(m.Definitions) != 1 {
		t.Errorf("machine %+v", m)
	}
	if m.Parked.Count.N != 2 || len(m.Parked.ByReason) != 2 || m.Parked.Oldest.IsZero() || m.DeadLetters.Count.N != 1 || m.DeadLetters.ByReason[0].Reason != "unknown_event" {
		t.Errorf("kept %+v, %+v", m.Parked, m.DeadLetters)
	}
	if invoice.Name != "invoice" || invoice.DeadLetters.Count.N != 1 || invoice.Table != "" {
		t.Errorf("a machine without a table: %+v", invoice)
	}
	if len(s.Marks) != 1 || s.Marks[0].Group != "g" || s.Marks[0].Offset != 7 || s.Marks[0].At.IsZero() || s.MoreMarks {
		t.Errorf("marks %+v", s.Marks)
	}
}

const manyDeadLetters = `
INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail, machine, entity, event, headers, "timestamp")
SELECT '00000000-0000-0000-0000-000000000001', 0, n, '', 't', 'rejected', 'illegal', '', 'order', n, 'e', '[]', now() FROM generate_series(1, $1::bigint) AS n`

// TestOperatorCountsMuch checks the counts of tables that are too large to be counted.
func TestOperatorCountsMuch(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	mustExec(t, pool, `INSERT INTO orders (id, state, version)
SELECT n, CASE WHEN n <= 3 THEN 'cancelled' WHEN n % 4 = 0 THEN 'paid' ELSE 'pending' END, 1 FROM generate_series(1, 150000) AS n`)
	mustExec(t, pool, manyDeadLetters, 12_000)
	mustExec(t, pool, `UPDATE pawl.dead_letters SET died_at = now() + interval '2 hours' WHERE id = (SELECT max(id) FROM pawl.dead_letters)`)
	o := openOperator(t, pool, "")
	for _, c := range []struct {
		sql   string
		exact string // the states that are counted
	}{{`SELECT`, ""}, {`ANALYZE orders`, ""}, {`CREATE INDEX ON orders (state)`, "cancelled 3"}} {
		mustExec(t, pool, c.sql)
		s, err := o.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := &s.Machines[0]
		near := func(c postgres.Count, want int64) bool {
			return c.Estimated && c.N > want*8/10 && c.N < want*12/10
		}
		if !near(m.Rows, 150_000) {
			t.Errorf("%s: rows %+v", c.sql, m.Rows)
		}
		for state, want := range map[string]int64{"pending": 112_500, "paid": 37_500} {
			if !slices.ContainsFunc(m.States, func(s postgres.StateRows) bool { return string(s.State) == state && near(s.Count, want) }) {
				t.Errorf("%s: %+v, want about %d in %s", c.sql, m.States, want, state)
			}
		}
		m.States = slices.DeleteFunc(m.States, func(s postgres.StateRows) bool { return s.Count.Estimated })
		if got := states(m); got != c.exact {
			t.Errorf("%s: counted %q, want %q", c.sql, got, c.exact)
		}
		if c := m.DeadLetters.Count; !c.AtLeast || c.N < 10_000 {
			t.Errorf("many dead letters: %+v", c)
		}
		if time.Until(m.DeadLetters.Newest) < time.Hour {
			t.Errorf("the newest dead letter is of %v", m.DeadLetters.Newest)
		}
	}
}

func TestOperatorEntity(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE numbered (no bigint PRIMARY KEY, phase text NOT NULL, rev integer NOT NULL)`)
	numbered := open(t, pool, postgres.Table{Machine: order, Name: "numbered", State: "phase", Version: "rev"})
	wantRows(t, pool, `SELECT concat_ws(' ', key_column, state_column, version_column) FROM pawl.tables`, "no phase rev")
	var l log
	apply(t, numbered, l.say("42", "placed"), l.say("42", "noted"), l.say("42", "captured"), l.say("42", "delivered"), l.say("42", "nosuch"))
	o := openOperator(t, pool, "")
	read := func(q postgres.EntityQuery) *postgres.EntityView {
		t.Helper()
		q.Entity.Machine = "order"
		v, err := o.Entity(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := read(postgres.EntityQuery{Entity: versioning.Entity{Key: "042"}, Steps: 2})
	if v.Entity.Key != "42" || v.Row == nil || v.Row.State != "paid" || v.Row.Version != 3 || !v.Found() {
		t.Fatalf("row %+v", v)
	}
	var columns map[string]any
	if err := json.Unmarshal(v.Row.Columns, &columns); err != nil || columns["phase"] != "paid" {
		t.Errorf("columns %s, %v", v.Row.Columns, err)
	}
	if len(v.History) != 2 || !v.Earlier || v.History[0].Version != 2 || v.History[1].Event != "captured" || v.History[1].Origin.Offset != 2 {
		t.Errorf("history %+v", v.History)
	}
	if len(v.Parked) != 1 || v.Parked[0].Record.Changes[0].Event != "delivered" || len(v.DeadLetters) != 1 {
		t.Errorf("kept %+v, %+v", v.Parked, v.DeadLetters)
	}
	if v := read(postgres.EntityQuery{Entity: versioning.Entity{Key: "42"}, Before: 2}); len(v.History) != 1 || v.Earlier || v.History[0].Event != "placed" {
		t.Errorf("before version 2: %+v", v)
	}
	for _, key := range []string{"43", "x", "99999999999999999999"} {
		if v := read(postgres.EntityQuery{Entity: versioning.Entity{Key: key}}); v.Found() {
			t.Errorf("entity %s: %+v", key, v)
		}
	}
	mustExec(t, pool, `DROP TABLE numbered`)
	if v := read(postgres.EntityQuery{Entity: versioning.Entity{Key: "42"}}); v.Row != nil || !strings.Contains(v.TableProblem, "does not exist any more") || len(v.History) != 3 {
		t.Errorf("after the table was dropped: %+v", v)
	}
}

// TestOperatorUnsent checks that the unsent messages of an entity are found, and no others.
func TestOperatorUnsent(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	for i, entity := range []string{"a", "a/1", "a0", "b"} {
		m := versioning.Emitted{Entity: versioning.Entity{Machine: "an order", Key: entity}, Version: int64(i + 1)}
		mustExec(t, pool, `INSERT INTO pawl.unsent (message_id, source, machine, entity, event, version, index, topic, content_type, headers, emitted_at, reason, detail)
VALUES ($1, '', 'an order', $2, 'e', 1, 0, 't', '', '[]', now(), 'MESSAGE_TOO_LARGE', '')`, m.ID(), entity)
	}
	o := openOperator(t, pool, "")
	for entity, want := range map[string]int{"a": 1, "a/1": 1, "c": 0} {
		v, err := o.Entity(t.Context(), postgres.EntityQuery{Entity: versioning.Entity{Machine: "an order", Key: entity}})
		if err != nil || len(v.Unsent) != want {
			t.Errorf("Entity(%s) = %+v, %v; want %d unsent", entity, v, err, want)
		}
	}
	if all, err := o.Unsent(t.Context(), postgres.UnsentFilter{}); err != nil || len(all) != 4 {
		t.Errorf("Unsent = %+v, %v", all, err)
	}
}

// TestOperatorOnOldSchema checks that an operator reads the oldest schema that this build works
// with, and that it refuses to drop anything there.
func TestOperatorOnOldSchema(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	downTo(t, pool, migrations.Oldest)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	var l log
	apply(t, store, l.say("a", "placed"), l.say("a", "nosuch"))
	o := openOperator(t, pool, "")
	s, err := o.Status(t.Context())
	if err != nil || states(&s.Machines[0]) != "pending 1" {
		t.Errorf("Status = %+v, %v", s, err)
	}
	v, err := o.Entity(t.Context(), postgres.EntityQuery{Entity: versioning.Entity{Machine: "order", Key: "a"}})
	if err != nil || v.Row == nil || len(v.DeadLetters) != 1 {
		t.Errorf("Entity = %+v, %v", v, err)
	}
	if _, err := o.DropDeadLetters(t.Context(), act, postgres.DeadLetterFilter{}); !errors.Is(err, postgres.ErrAudit) || !strings.Contains(err.Error(), "pawl migrate up") {
		t.Errorf("DropDeadLetters: %v", err)
	}
	if _, err := o.Audit(t.Context(), postgres.AuditFilter{}); err == nil || !strings.Contains(err.Error(), "pawl migrate up") {
		t.Errorf("Audit: %v", err)
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.dead_letters`, "1")

	// After the upgrade, the first worker that starts registers the columns.
	if err := migrate.Up(t.Context(), pool.Config().ConnString()); err != nil {
		t.Fatal(err)
	}
	open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	wantRows(t, pool, `SELECT concat_ws(' ', key_column, state_column, version_column) FROM pawl.tables`, "id state version")
}

func TestOperatorTimers(t *testing.T) {
	t.Parallel()
	pool, store := openTickets(t)
	var l log
	for i := range 5 {
		apply(t, store, l.tell(fmt.Sprint(i), "opened"))
	}
	apply(t, store, l.tell("1", "answered"))
	o := openOperator(t, pool, "")
	all, more, err := o.Timers(t.Context(), postgres.TimerFilter{})
	if err != nil || more || len(all) != 6 || !slices.IsSortedFunc(all, func(a, b postgres.ArmedTimer) int { return a.Due.Compare(b.Due) }) {
		t.Errorf("Timers = %+v, %v, %v", all, more, err)
	}
	for _, c := range []struct {
		filter postgres.TimerFilter
		want   int
	}{
		{postgres.TimerFilter{Limit: 2}, 2},
		{postgres.TimerFilter{Machine: "ticket", Key: "1"}, 2},
		{postgres.TimerFilter{Machine: "ticket", Event: "accepted"}, 1},
		{postgres.TimerFilter{Machine: "order"}, 0},
		{postgres.TimerFilter{Key: "nosuch"}, 0},
		{postgres.TimerFilter{To: time.Now().Add(90 * time.Minute)}, 5},
	} {
		if got, more, err := o.Timers(t.Context(), c.filter); err != nil || more || len(got) != c.want {
			t.Errorf("Timers(%+v) = %+v, %v, %v; want %d", c.filter, got, more, err, c.want)
		}
	}
	s, err := o.Status(t.Context())
	if err != nil || s.Machines[0].Timers.Pending != 6 {
		t.Errorf("Status: %+v, %v", s, err)
	}
}

func TestOpenOperatorErrors(t *testing.T) {
	t.Parallel()
	if _, err := postgres.OpenOperator(t.Context(), nil, ""); err == nil {
		t.Error("without a pool, there is no error")
	}
	pool := testenv.Pool(t)
	if _, err := postgres.OpenOperator(t.Context(), pool, ""); !errors.Is(err, migrations.ErrSchema) {
		t.Errorf("without a schema: %v", err)
	}
	if _, err := postgres.OpenOperator(t.Context(), pool, "pg_x"); err == nil || !strings.Contains(err.Error(), "reserved") {
		t.Errorf("a reserved name: %v", err)
	}
}
