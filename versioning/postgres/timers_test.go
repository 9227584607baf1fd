package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// ticket has a deadline by each clock.
var ticket = statemachine.MustCompile(statemachine.Definition{
	Name: "ticket", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "opened", To: "open"},
		{Event: "noted", From: statemachine.In("open"), To: "open"},
		{Event: "answered", From: statemachine.In("open"), To: "answered"},
		{Event: "reopened", From: statemachine.In("answered"), To: "open"},
		{Event: "expired", From: statemachine.In("open"), To: "closed", After: time.Hour},
		{Event: "accepted", From: statemachine.In("answered"), To: "closed", AfterPeriod: statemachine.Period{Days: 1}, Clock: statemachine.RecordClock},
	},
	Terminal: statemachine.In("closed"),
})

// withTickets is a database with schema pawl and a table tickets.
var withTickets = testenv.Template("tickets", func(ctx context.Context, url string) error {
	if err := createOrders(ctx, url); err != nil {
		return err
	}
	return execute(ctx, url, `CREATE TABLE tickets (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
		note text, CHECK (state <> 'closed' OR note IS DISTINCT FROM 'stays open'))`)
})

func openTickets(t *testing.T) (*pgxpool.Pool, *postgres.Store) {
	t.Helper()
	pool := testenv.Pool(t, withTickets)
	return pool, open(t, pool, postgres.Table{Machine: ticket, Name: "tickets"})
}

// tell returns a record about a ticket.
func (l *log) tell(key string, event statemachine.Event) *versioning.Record {
	r := l.record(versioning.Change{Machine: "ticket", Key: key, Event: event})
	r.Timestamp = time.Now()
	return r
}

// elapse makes all timers due earlier. Like rows that are inserted, none is due in the past.
func elapse(t *testing.T, pool *pgxpool.Pool, d time.Duration) {
	t.Helper()
	mustExec(t, pool, `UPDATE pawl.timers SET due = greatest(due - $1::interval, now()),
		dues = (SELECT array_agg(d - $1::interval) FROM unnest(coalesce(dues, array_fill(due, ARRAY[n]))) AS d)`, d)
}

// fire fires all timers that are due, and returns what happened as "key event verdict".
func fire(t *testing.T, store *postgres.Store) (happened []string) {
	t.Helper()
	for more := true; more; {
		fired, err := store.FireTimers(t.Context(), 0)
		if err != nil {
			t.Fatalf("FireTimers: %v", err)
		}
		more = fired.More
		for _, s := range fired.Outcomes {
			c := s.Record.Changes[0]
			happened = append(happened, fmt.Sprintf("%s %s %s", c.Key, c.Event, verdicts([]versioning.Outcome{s.Outcome})[0]))
		}
	}
	slices.Sort(happened)
	return happened
}

func wantFired(t *testing.T, store *postgres.Store, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string(nil), want...), fire(t, store)); diff != "" {
		t.Errorf("fired (-want, +got):\n%s", diff)
	}
}

func wantNoTimers(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	wantRows(t, pool, `SELECT machine || ' ' || event || ' ' || entities::text || ' ' || due FROM pawl.timers`)
}

// A timer fires once it is due, if its entity is still in the state.
func TestTimers(t *testing.T) {
	t.Parallel()
	pool, store := openTickets(t)
	l := &log{}
	apply(t, store, l.tell("stays", "opened"), l.tell("notes", "opened"), l.tell("notes", "noted"),
		l.tell("left", "opened"), l.tell("back", "opened"))
	wantRows(t, pool, `SELECT n || ' ' || event || ' ' || entities::text || ' ' || versions::text || ' ' || (dues IS NULL) FROM pawl.timers`,
		"4 expired {back,left,notes,stays} {1,1,1,1} true")
	wantRows(t, pool, `SELECT DISTINCT extract(epoch FROM t.due - h.at)::integer::text FROM pawl.timers AS t, pawl.transitions AS h`, "3600")
	wantFired(t, store)
	apply(t, store, l.tell("notes", "noted"), l.tell("left", "answered"), l.tell("back", "answered"), l.tell("back", "reopened"))
	wantRows(t, pool, `SELECT event || ' ' || entities::text || ' ' || versions::text FROM pawl.timers ORDER BY n DESC, event`,
		"expired {back,left,notes,stays} {1,1,1,1}", "accepted {left} {2}", "expired {back} {3}")
	elapse(t, pool, time.Hour)
	wantFired(t, store, "back expired applied", "back expired ignored", "left expired ignored", "notes expired applied", "stays expired applied")
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM tickets ORDER BY id`, "back closed 4", "left answered 2", "notes closed 4", "stays closed 2")
	wantRows(t, pool, `SELECT entity || ' ' || topic || ' ' || message_id FROM pawl.transitions WHERE event = 'expired' ORDER BY entity`,
		"back pawl.timers pawl.timer/3/expired", "notes pawl.timers pawl.timer/1/expired", "stays pawl.timers pawl.timer/1/expired")
	elapse(t, pool, 23*time.Hour)
	wantFired(t, store, "left accepted applied")
	wantNoTimers(t, pool)
}

// lease has functions: its events set timers.
type lease struct {
	Note string `db:"note"`
}

type setTimer struct {
	Event statemachine.Event `json:"event"`
	At    time.Time          `json:"at"`
}

var errStillBusy = errors.New("still busy")

var leases = statemachine.MustCompile(statemachine.Definition{
	Name: "lease", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "taken", To: "held", Do: statemachine.Do(setTimers)},
		{Event: "renewed", From: statemachine.In("held"), To: "held", Do: statemachine.Do(setTimers)},
		{Event: "returned", From: statemachine.In("held"), To: "free"},
		{Event: "retaken", From: statemachine.In("free"), To: "held", Do: statemachine.Do(setTimers)},
		{Event: "busy", From: statemachine.In("held"), To: "held", Do: statemachine.Do(func(_ *statemachine.Firing, l *lease, _ struct{}) error {
			l.Note = "busy"
			return nil
		})},
		{Event: "warned", From: statemachine.In("held"), To: "held", After: time.Minute, Do: statemachine.Do(func(_ *statemachine.Firing, l *lease, _ struct{}) error {
			l.Note = "warned"
			return nil
		})},
		{Event: "lapsed", From: statemachine.In("held"), To: "lapsed", Do: statemachine.Do(func(_ *statemachine.Firing, l *lease, _ struct{}) error {
			switch l.Note {
			case "busy":
				return statemachine.NotYet(errStillBusy)
			case "refuse":
				return errors.New("refused")
			}
			return nil
		})},
		{Event: "ended", From: statemachine.In("free", "held"), To: "ended"},
	},
	Terminal: statemachine.In("lapsed", "ended"),
})

func setTimers(f *statemachine.Firing, l *lease, timers []setTimer) error {
	l.Note = ""
	for _, t := range timers {
		f.At(t.Event, t.At)
	}
	return nil
}

// withLeases is a database with schema pawl and a table leases.
var withLeases = testenv.Template("leases", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	return execute(ctx, url, `CREATE TABLE leases (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, note text NOT NULL DEFAULT '')`)
})

func openLeases(t *testing.T) (*pgxpool.Pool, *postgres.Store) {
	t.Helper()
	pool := testenv.Pool(t, withLeases)
	return pool, open(t, pool, postgres.Table{Machine: leases, Name: "leases"})
}

// lease returns a record about a lease.
func (l *log) lease(key string, event statemachine.Event, timers ...setTimer) *versioning.Record {
	c := versioning.Change{Machine: "lease", Key: key, Event: event}
	if event != "returned" && event != "busy" && event != "ended" {
		c.Data = timers
	}
	return l.record(c)
}

func lapsesIn(d time.Duration) setTimer { return setTimer{"lapsed", time.Now().Add(d)} }

// Timers that actions set: the last one for an event counts, they hold while the entity stays
// in the state, and they replace those of the state.
func TestSetTimers(t *testing.T) {
	t.Parallel()
	pool, store := openLeases(t)
	l := &log{}
	const timers = `SELECT event || ' ' || unnest(entities) || ' ' || unnest(versions) || ' ' || tries FROM pawl.timers ORDER BY 1`
	const replaced = `SELECT entity || ' ' || event || ' ' || version FROM pawl.rearmed ORDER BY 1`
	apply(t, store,
		l.lease("later", "taken", lapsesIn(time.Second)),
		l.lease("later", "renewed", lapsesIn(time.Hour)), // in the same batch: the first one is never armed
		l.lease("warn", "taken", setTimer{"warned", time.Now().Add(10 * time.Minute)}),
		l.lease("past", "taken", lapsesIn(-48*time.Hour)),
		l.lease("both", "taken", lapsesIn(2*time.Hour), lapsesIn(time.Hour)))
	wantRows(t, pool, timers, "lapsed both 1 0", "lapsed later 2 0", "lapsed past 1 0", "warned both 1 0", "warned later 1 0", "warned past 1 0", "warned warn 1 0")
	wantRows(t, pool, replaced)
	apply(t, store, l.lease("later", "renewed", lapsesIn(2*time.Hour)), l.lease("both", "renewed", lapsesIn(30*time.Minute)))
	wantRows(t, pool, replaced, "both lapsed 2", "later lapsed 3")
	wantFired(t, store, "past lapsed applied")
	elapse(t, pool, time.Minute)
	wantFired(t, store, "both warned applied", "later warned applied", "past warned ignored") // warn's has been replaced
	elapse(t, pool, 9*time.Minute)
	wantFired(t, store, "warn warned applied")
	wantRows(t, pool, `SELECT id || ' ' || note || ' ' || state FROM leases ORDER BY id`, "both warned held", "later warned held", "past  lapsed", "warn warned held")
	elapse(t, pool, 20*time.Minute)
	wantFired(t, store, "both lapsed applied")
	wantRows(t, pool, replaced, "later lapsed 3") // both has left the state
	elapse(t, pool, 30*time.Minute)
	wantFired(t, store, "both lapsed ignored", "later lapsed ignored")
	apply(t, store, l.lease("later", "returned"), l.lease("later", "retaken", lapsesIn(3*time.Hour)))
	elapse(t, pool, time.Hour)
	wantFired(t, store, "later lapsed ignored", "later warned applied")
	wantRows(t, pool, replaced)
	elapse(t, pool, 2*time.Hour)
	wantFired(t, store, "later lapsed applied")
	wantNoTimers(t, pool)
	wantRows(t, pool, `SELECT d::text FROM pawl.dead_letters AS d`)
}

// Timers for different times share a row if they are due within a second. Each fires when it
// is due.
func TestTimersArePacked(t *testing.T) {
	t.Parallel()
	pool, store := openLeases(t)
	l := &log{}
	base := time.Now().Add(time.Hour).Truncate(time.Second)
	var records []*versioning.Record
	for i := range 2500 {
		records = append(records, l.lease(key(i), "taken", setTimer{"lapsed", base.Add(time.Duration(i) * time.Millisecond)}))
	}
	apply(t, store, records...)
	wantRows(t, pool, `SELECT event || ' ' || n || ' ' || (dues IS NULL) || ' ' || cardinality(entities) || ' ' || coalesce(cardinality(dues), 0) FROM pawl.timers ORDER BY event, due, n DESC`,
		"lapsed 1000 false 1000 1000", "lapsed 1000 false 1000 1000", "lapsed 500 false 500 500",
		"warned 1000 true 1000 0", "warned 1000 true 1000 0", "warned 500 true 500 0")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.timers AS t, unnest(entities, dues) AS u(entity, at)
		WHERE event = 'lapsed' AND at <> '`+base.Format(time.RFC3339)+`'::timestamptz + interval '1 millisecond' * substr(entity, 2)::integer`, "0")
	mustExec(t, pool, `DELETE FROM pawl.timers WHERE event = 'warned'`)
	// 500 milliseconds of the first row are over.
	mustExec(t, pool, `UPDATE pawl.timers SET due = due - d, dues = (SELECT array_agg(x - d) FROM unnest(dues) AS x)
		FROM (SELECT min(due) - now() + interval '499500 microseconds' AS d FROM pawl.timers) AS by`)
	fired, err := store.FireTimers(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range fired.Outcomes { // in their order
		if k := s.Record.Changes[0].Key; k != key(i) || s.Outcome.Verdict != versioning.Applied {
			t.Fatalf("timer %d: %s %+v", i, k, s.Outcome)
		}
	}
	if n := len(fired.Outcomes); n < 500 || n > 2400 {
		t.Errorf("%d timers have fired", n)
	}
	wantRows(t, pool, `SELECT sum(n)::text FROM pawl.timers`, fmt.Sprint(2500-len(fired.Outcomes)))
}

// Timers that are due one after the other, each soon after the one before, do not make one
// long row: that would be written again each time one of them fires.
func TestTimersAreNotChained(t *testing.T) {
	t.Parallel()
	pool, store := openLeases(t)
	l := &log{}
	base := time.Now().Add(time.Hour).Truncate(time.Second)
	var records []*versioning.Record
	for i := range 100 {
		records = append(records, l.lease(key(i), "taken", setTimer{"lapsed", base.Add(time.Duration(i) * 900 * time.Millisecond)}))
	}
	apply(t, store, records...)
	wantRows(t, pool, `SELECT n || ' ' || count(*) FROM pawl.timers WHERE event = 'lapsed' GROUP BY n`, "2 50")
}

// Not all timers of a row that is due are due. They are counted as what they are, and a call
// that has claimed as many timers as it may says that there may be more, even if it has fired
// fewer.
func TestRowsThatArePartlyDue(t *testing.T) {
	t.Parallel()
	pool, store := openLeases(t)
	l := &log{}
	at := time.Now().Add(time.Hour)
	for _, batch := range []string{"a", "b"} {
		apply(t, store, l.lease(batch+"1", "taken", setTimer{"lapsed", at}), l.lease(batch+"2", "taken", setTimer{"lapsed", at.Add(time.Millisecond)}))
	}
	mustExec(t, pool, `DELETE FROM pawl.timers WHERE event = 'warned'`)
	mustExec(t, pool, `UPDATE pawl.timers SET due = now(), dues = ARRAY[now(), now() + interval '1 hour']`)
	counts, err := store.CountTimers(t.Context())
	if err != nil || counts.Overdue != 2 || counts.Pending != 2 {
		t.Errorf("CountTimers = %+v, %v; want 2 overdue and 2 pending", counts, err)
	}
	fired, err := store.FireTimers(t.Context(), 2)
	if err != nil || len(fired.Outcomes) != 1 || !fired.More {
		t.Errorf("%d timers have fired, more: %t, %v; want 1 and more", len(fired.Outcomes), fired.More, err)
	}
	wantFired(t, store, "b1 lapsed applied")
	if counts, err = store.CountTimers(t.Context()); err != nil || counts.Overdue != 0 || counts.Pending != 2 {
		t.Errorf("CountTimers = %+v, %v; want 2 pending", counts, err)
	}
}

// A timer is void if another writer has changed the state, even if its event is legal in the
// new state. Timers that were armed there hold.
func TestTimersAfterForeignWrites(t *testing.T) {
	t.Parallel()
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "ticket", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "held", From: statemachine.In("open"), To: "held"},
			{Event: "noted", From: statemachine.In("held"), To: "held"},
			{Event: "moved", From: statemachine.In("held"), To: "left"},
			{Event: "expired", From: statemachine.In("open", "left"), To: "closed", After: time.Hour},
			{Event: "expired", From: statemachine.In("held"), To: "closed", After: 1000 * time.Hour},
		},
		Terminal: statemachine.In("closed"),
	})
	pool := testenv.Pool(t, withTickets)
	store := open(t, pool, postgres.Table{Machine: machine, Name: "tickets"})
	l := &log{}
	for _, key := range []string{"moved", "noted", "same", "stays"} {
		apply(t, store, l.tell(key, "opened"))
	}
	mustExec(t, pool, `UPDATE tickets SET state = 'held', version = version + 1 WHERE id IN ('moved', 'noted')`)
	mustExec(t, pool, `UPDATE tickets SET note = 'other', version = version + 1 WHERE id = 'same'`)
	apply(t, store, l.tell("noted", "noted"), l.tell("moved", "moved"))
	elapse(t, pool, time.Hour)
	wantFired(t, store, "moved expired applied", "moved expired ignored", "noted expired ignored", "same expired applied", "stays expired applied")
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM tickets ORDER BY id`, "moved closed 4", "noted held 3", "same closed 3", "stays closed 2")
}

// What an entity has replaced since it came back is not forgotten when a timer from before that
// fires, which is void.
func TestRearmedAfterReentry(t *testing.T) {
	t.Parallel()
	pool, store := openLeases(t)
	l := &log{}
	apply(t, store, l.lease("a", "taken", lapsesIn(time.Hour)))
	apply(t, store, l.lease("a", "returned"), l.lease("a", "retaken", lapsesIn(2*time.Hour)))
	apply(t, store, l.lease("a", "renewed", lapsesIn(3*time.Hour)))
	elapse(t, pool, time.Hour)
	wantFired(t, store, "a lapsed ignored", "a warned applied", "a warned ignored")
	elapse(t, pool, time.Hour)
	wantFired(t, store, "a lapsed ignored") // it was replaced
	elapse(t, pool, time.Hour)
	wantFired(t, store, "a lapsed applied")
	wantRows(t, pool, `SELECT r::text FROM pawl.rearmed AS r`)
	wantNoTimers(t, pool)
}
