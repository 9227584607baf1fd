package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// openMany opens n new tickets.
func openMany(t *testing.T, store *postgres.Store, n int) {
	t.Helper()
	l := &log{}
	var records []*versioning.Record
	for i := range n {
		records = append(records, l.tell(fmt.Sprintf("t%06d", i), "opened"))
	}
	for some := range slices.Chunk(records, 5000) {
		apply(t, store, some...)
	}
}

// wantEachExpired checks that n tickets have expired, each by one step, and that no timer is left.
func wantEachExpired(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	wantRows(t, pool, `SELECT state || ' ' || version || ' ' || count(*) FROM tickets GROUP BY state, version`, fmt.Sprintf("closed 2 %d", n))
	wantRows(t, pool, `SELECT count(*) || ' ' || count(DISTINCT entity) FROM pawl.transitions WHERE event = 'expired'`, fmt.Sprintf("%d %[1]d", n))
	wantRows(t, pool, `SELECT d::text FROM pawl.dead_letters AS d`)
	wantNoTimers(t, pool)
}

// Several workers fire what is due at once: each timer fires once, and quickly.
func TestFireTogether(t *testing.T) {
	t.Parallel()
	pool, store := openTickets(t)
	other := open(t, pool, postgres.Table{Machine: ticket, Name: "tickets"})
	const n = 20_000
	openMany(t, store, n)
	elapse(t, pool, time.Hour)
	began := time.Now()
	var mu sync.Mutex
	byVerdict := make(map[string]int)
	calls := 0
	var workers sync.WaitGroup
	for i := range 4 {
		s := []*postgres.Store{store, other}[i%2]
		workers.Go(func() {
			for {
				fired, err := s.FireTimers(t.Context(), 0)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				calls++
				for _, o := range fired.Outcomes {
					byVerdict[o.Outcome.Verdict.String()]++
				}
				enough := !fired.More && len(fired.Outcomes) == 0 || calls > 100
				mu.Unlock()
				if enough {
					return
				}
			}
		})
	}
	workers.Wait()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if calls > 40 {
		t.Errorf("%d calls for %d timers", calls, n)
	}
	if diff := cmp.Diff(map[string]int{"applied": n}, byVerdict); diff != "" {
		t.Errorf("outcomes (-want, +got):\n%s", diff)
	}
	wantEachExpired(t, pool, n)
}

// Whatever is killed, at whatever time, each timer fires once.
func TestFireKilled(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withTickets)
	config := pool.Config()
	config.ConnConfig.RuntimeParams["application_name"] = "victim"
	victim, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(victim.Close)
	store := open(t, victim, postgres.Table{Machine: ticket, Name: "tickets"})
	const n = 1500
	openMany(t, store, n)
	elapse(t, pool, time.Hour)
	killed := 0
	for len(query(t, pool, `SELECT due::text FROM pawl.timers`)) > 0 { // one of a killed session may still be locked
		ctx, cancel := context.WithCancel(t.Context())
		var killer sync.WaitGroup
		killer.Go(func() {
			<-time.After(time.Duration(rand.IntN(40_000)) * time.Microsecond)
			if rand.IntN(2) == 0 {
				cancel()
				return
			}
			_, _ = pool.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'victim'`)
		})
		if _, err := store.FireTimers(ctx, 50); err != nil {
			killed++
		}
		killer.Wait()
		cancel()
	}
	if killed < 5 {
		t.Errorf("only %d calls were killed", killed)
	}
	wantEachExpired(t, pool, n)
}

// A timer whose event PostgreSQL refuses becomes a dead letter. The others of its row fire. It
// can be redriven.
func TestFireRefused(t *testing.T) {
	t.Parallel()
	pool, store := openTickets(t)
	const n = 1500
	openMany(t, store, n)
	mustExec(t, pool, `UPDATE tickets SET note = 'stays open' WHERE id IN ('t000007', 't001234')`)
	elapse(t, pool, time.Hour)
	happened := fire(t, store)
	if got := slices.DeleteFunc(happened, func(s string) bool { return strings.HasSuffix(s, "expired applied") }); !slices.Equal(got,
		[]string{"t000007 expired rejected constraint", "t001234 expired rejected constraint"}) {
		t.Errorf("not applied: %v", got)
	}
	wantRows(t, pool, `SELECT state || ' ' || count(*) FROM tickets GROUP BY state ORDER BY state`, "closed 1498", "open 2")
	wantNoTimers(t, pool)

	dead, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(dead) != 2 {
		t.Fatalf("%d dead letters, %v", len(dead), err)
	}
	first := dead[0]
	want := fmt.Sprintf(`{"machine":"ticket","entity":"t000007","event":"expired","armed_version":1,"due":%q}`, first.Record.Timestamp.UTC().Format(time.RFC3339Nano))
	if got := string(first.Record.Value); got != want || string(first.Record.Key) != "t000007" || first.Record.Origin.Topic != "pawl.timers" ||
		first.Outcome.Event != "expired" || first.Outcome.Entity.Key != "t000007" {
		t.Errorf("the dead letter is %+v of %+v with value %s, want %s", first.Outcome, first.Record.Origin, got, want)
	}
	decode := func(*versioning.Record) ([]versioning.Change, error) {
		return nil, errors.New("Redrive has asked the application to decode a timer")
	}
	redrive := func(want ...string) {
		t.Helper()
		if dead, err = store.DeadLetters(t.Context(), postgres.DeadLetterFilter{Topic: versioning.TimerTopic}); err != nil {
			t.Fatal(err)
		}
		dry, err := store.DryRedrive(t.Context(), dead, decode)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, err := store.Redrive(t.Context(), dead, decode)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, verdicts(outcomes), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("redriven (-want, +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, verdicts(dry), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("redriven, dry (-want, +got):\n%s", diff)
		}
	}
	redrive("rejected constraint", "rejected constraint")
	l := &log{}
	apply(t, store, l.tell("t000007", "answered"), l.tell("t000007", "reopened"))
	mustExec(t, pool, `UPDATE tickets SET note = NULL`)
	redrive("ignored", "applied") // the first one has left the state
	wantRows(t, pool, `SELECT d::text FROM pawl.dead_letters AS d`)
	wantRows(t, pool, `SELECT id || ' ' || state FROM tickets WHERE id IN ('t000007', 't001234') ORDER BY 1`, "t000007 open", "t001234 closed")
	redrive()
}

// An event that can't happen yet is parked. It happens once the entity moves, unless that
// makes the timer void.
func TestFireNotYet(t *testing.T) {
	t.Parallel()
	pool, store := openLeases(t)
	l := &log{}
	for _, key := range []string{"waits", "leaves", "replaces"} {
		apply(t, store, l.lease(key, "taken", lapsesIn(time.Second)), l.lease(key, "busy"))
	}
	mustExec(t, pool, `DELETE FROM pawl.timers WHERE event = 'warned'`)
	elapse(t, pool, time.Second)
	wantFired(t, store, "leaves lapsed early not_yet", "replaces lapsed early not_yet", "waits lapsed early not_yet")
	wantNoTimers(t, pool)
	wantRows(t, pool, `SELECT entity || ' ' || topic || ' ' || (changes->0->>'armed_version') FROM pawl.parked ORDER BY 1`,
		"leaves pawl.timers 1", "replaces pawl.timers 1", "waits pawl.timers 1")
	released := apply(t, store, l.lease("leaves", "returned"), l.lease("replaces", "renewed", lapsesIn(time.Hour)), l.lease("waits", "renewed")).Released
	var got []string
	for _, s := range released {
		got = append(got, s.Record.Changes[0].Key+" "+s.Outcome.Verdict.String())
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"leaves ignored", "replaces ignored", "waits applied"}, got); diff != "" {
		t.Errorf("released (-want, +got):\n%s", diff)
	}
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
	wantRows(t, pool, `SELECT id || ' ' || state FROM leases ORDER BY id`, "leaves free", "replaces held", "waits lapsed")
}

// What an entity has replaced is also forgotten if its last timer was parked or a dead letter.
func TestRearmedAfterDetours(t *testing.T) {
	t.Parallel()
	pool, store := openLeases(t)
	l := &log{}
	const replaced = `SELECT entity || ' ' || event || ' ' || version FROM pawl.rearmed ORDER BY 1`
	for _, key := range []string{"dead", "leaves", "waits"} {
		apply(t, store, l.lease(key, "taken", lapsesIn(time.Hour)))
		apply(t, store, l.lease(key, "renewed", lapsesIn(time.Minute)))
	}
	mustExec(t, pool, `DELETE FROM pawl.timers WHERE event = 'warned'`)
	apply(t, store, l.lease("leaves", "busy"), l.lease("waits", "busy"))
	mustExec(t, pool, `UPDATE leases SET note = 'refuse' WHERE id = 'dead'`)
	elapse(t, pool, time.Hour)
	wantFired(t, store, "dead lapsed ignored", "dead lapsed rejected refused", "leaves lapsed early not_yet", "leaves lapsed ignored", "waits lapsed early not_yet", "waits lapsed ignored")
	wantRows(t, pool, replaced, "dead lapsed 2", "leaves lapsed 2", "waits lapsed 2")
	apply(t, store, l.lease("leaves", "returned"), l.lease("waits", "renewed"))
	wantRows(t, pool, replaced, "dead lapsed 2")
	mustExec(t, pool, `UPDATE leases SET note = ''`)
	dead, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := store.Redrive(t.Context(), dead, func(*versioning.Record) ([]versioning.Change, error) { return nil, errors.New("not called") })
	if got := fmt.Sprint(verdicts(outcomes), err); got != "[applied] <nil>" {
		t.Errorf("redriven: %s", got)
	}
	wantRows(t, pool, replaced)
}

// Parked timers age while the partitions of the machine's topics are read, like records do. They
// have no partition themselves that could stop the clock.
func TestParkedTimersAge(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withLeases)
	store := open(t, pool, postgres.Table{Machine: leases, Name: "leases", ParkFor: time.Hour})
	l := &log{}
	apply(t, store, l.lease("a", "taken", lapsesIn(0)), l.lease("a", "busy"))
	wantFired(t, store, "a lapsed early not_yet")
	sweep := func(expired int, partitions ...versioning.ReadPartition) time.Time {
		t.Helper()
		swept, err := store.Sweep(t.Context(), versioning.Reading{Partitions: partitions, Pause: 24 * time.Hour})
		if err != nil || swept.Expired != expired {
			t.Fatalf("swept %+v, %v; want %d expired", swept, err, expired)
		}
		return swept.At
	}
	at := sweep(0)
	mustExec(t, pool, `UPDATE pawl.parked SET parked_at = parked_at - interval '2 hours'`)
	sweep(0) // nobody reads partitions, so there is no clock
	read := versioning.ReadPartition{TopicID: [16]byte{1}}
	sweep(0, read)
	wantRows(t, pool, `SELECT topic_id::text FROM pawl.caught_up`, "01000000-0000-0000-0000-000000000000")
	mustExec(t, pool, `UPDATE pawl.parked SET parked_at = parked_at - interval '2 hours'`)
	read.Until = at.Add(time.Second)
	sweep(1, read)
	wantRows(t, pool, `SELECT topic || ' ' || machine || ' ' || entity || ' ' || event || ' ' || reason FROM pawl.dead_letters`, "pawl.timers lease a lapsed parked_too_long")
	copied, err := store.CopyDeadLetters(t.Context(), map[string][]int32{"leases": {0}, versioning.TimerTopic: {0}}, 10,
		func(context.Context, []versioning.DeadLetter) ([]int64, error) {
			return nil, errors.New("it was copied")
		})
	if copied != 0 || err != nil {
		t.Errorf("%d dead letters of timers were copied: %v", copied, err)
	}
}

// A dry run arms nothing, but a later dead letter is judged as if an earlier one had replaced
// its timer. Then Redrive arms.
func TestRedriveArms(t *testing.T) {
	t.Parallel()
	pool, store := openLeases(t)
	l := &log{}
	decode := func(allowed bool) func(*versioning.Record) ([]versioning.Change, error) {
		return func(*versioning.Record) ([]versioning.Change, error) {
			if !allowed {
				return nil, errors.New("not yet")
			}
			return []versioning.Change{{Machine: "lease", Key: "a", Event: "renewed", Data: []setTimer{lapsesIn(time.Hour)}}}, nil
		}
	}
	apply(t, store, l.lease("a", "taken", lapsesIn(0)))
	mustExec(t, pool, `UPDATE leases SET note = 'refuse'`)
	renewal := l.record()
	renewal.Decode(decode(false))
	wantVerdicts(t, apply(t, store, renewal), "rejected undecodable")
	wantFired(t, store, "a lapsed rejected refused")
	mustExec(t, pool, `DELETE FROM pawl.timers`)
	mustExec(t, pool, `UPDATE leases SET note = ''`)
	dead, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(dead) != 2 {
		t.Fatalf("%d dead letters, %v", len(dead), err)
	}
	outcomes, err := store.DryRedrive(t.Context(), dead, decode(true))
	if got := fmt.Sprint(verdicts(outcomes), err); got != "[applied ignored] <nil>" {
		t.Errorf("dry: %s", got)
	}
	wantNoTimers(t, pool)
	wantRows(t, pool, `SELECT r::text FROM pawl.rearmed AS r`)
	outcomes, err = store.Redrive(t.Context(), dead, decode(true))
	if got := fmt.Sprint(verdicts(outcomes), err); got != "[applied ignored] <nil>" {
		t.Errorf("redriven: %s", got)
	}
	wantRows(t, pool, `SELECT event || ' ' || versions::text FROM pawl.timers`, "lapsed {2}")
	wantRows(t, pool, `SELECT version::text FROM pawl.rearmed`, "2")
}

// Steps that Do makes, and those of records that are released, arm timers too.
func TestDoArms(t *testing.T) {
	t.Parallel()
	pool, store := openTickets(t)
	l := &log{}
	wantVerdicts(t, apply(t, store, l.tell("a", "answered")), "early no_entity")
	outcome, err := store.Do(t.Context(), versioning.Change{Machine: "ticket", Key: "a", Event: "opened"})
	if err != nil || outcome.Verdict != versioning.Applied {
		t.Fatal(outcome, err)
	}
	wantRows(t, pool, `SELECT event || ' ' || versions::text FROM pawl.timers`, "accepted {2}")
	outcome, err = store.Do(t.Context(), versioning.Change{Machine: "ticket", Key: "a", Event: "opened"})
	if err != nil || outcome.Verdict != versioning.Rejected {
		t.Fatal(outcome, err)
	}
	wantRows(t, pool, `SELECT event || ' ' || versions::text FROM pawl.timers`, "accepted {2}")
}

// The deadline by the record's clock counts from the record's time, on the calendar.
func TestRecordClock(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	monthly := statemachine.MustCompile(statemachine.Definition{
		Name: "ticket", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "expired", From: statemachine.In("open"), To: "closed", AfterPeriod: statemachine.Period{Months: 1, Zone: berlin}, Clock: statemachine.RecordClock},
		},
		Terminal: statemachine.In("closed"),
	})
	pool := testenv.Pool(t, withTickets)
	store := open(t, pool, postgres.Table{Machine: monthly, Name: "tickets"})
	l := &log{}
	records := make(map[string]time.Time)
	for key, at := range map[string]string{
		"winter": "2099-01-31T10:00:00+01:00", "spring": "2099-03-01T10:00:00+01:00", "strange": "1970-01-01T00:00:00Z",
	} {
		if records[key], err = time.Parse(time.RFC3339, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"spring", "strange", "winter"} {
		r := l.tell(key, "opened")
		r.Timestamp = records[key]
		apply(t, store, r)
	}
	far := l.tell("far", "opened")
	far.Timestamp = time.UnixMilli(1 << 60)
	apply(t, store, far)
	timers, err := store.Timers(t.Context(), postgres.TimerFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range timers {
		got = append(got, a.Entity.Key+" "+a.Due.In(berlin).Format(time.RFC3339))
	}
	if diff := cmp.Diff([]string{
		"strange 1970-02-01T01:00:00+01:00", "winter 2099-02-28T10:00:00+01:00", "spring 2099-04-01T10:00:00+02:00", "far 9999-12-31T01:00:00+01:00",
	}, got); diff != "" {
		t.Errorf("due (-want, +got):\n%s", diff)
	}
	wantFired(t, store, "strange expired applied")
}

// openLocked opens a store that does not wait long for locks, with n tickets whose timers are
// due. A transaction has locked the row of one of them.
func openLocked(t *testing.T, n int, locked string) (*pgxpool.Pool, *postgres.Store, pgx.Tx) {
	t.Helper()
	pool := testenv.Pool(t, withTickets)
	config := pool.Config()
	config.ConnConfig.RuntimeParams["lock_timeout"] = "50ms"
	impatient, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(impatient.Close)
	store := open(t, impatient, postgres.Table{Machine: ticket, Name: "tickets"})
	openMany(t, store, n)
	elapse(t, pool, time.Hour)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	if _, err := tx.Exec(t.Context(), `SELECT FROM tickets WHERE id = $1 FOR UPDATE`, locked); err != nil {
		t.Fatal(err)
	}
	return pool, store, tx
}

// If a timer can't be set aside either, FireTimers does not say that others may be fired: the
// worker would take it for one timer's trouble and report none.
func TestFireCannotSetAside(t *testing.T) {
	t.Parallel()
	pool, store, _ := openLocked(t, 1, "t000000")
	mustExec(t, pool, `CREATE FUNCTION no_tries() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no second try'; END $$;
		CREATE TRIGGER no_tries BEFORE INSERT ON pawl.timers FOR EACH ROW WHEN (NEW.tries > 0) EXECUTE FUNCTION no_tries()`)
	fired, err := store.FireTimers(t.Context(), 0)
	if fired.More || err == nil || !strings.Contains(err.Error(), "no second try") || !strings.Contains(err.Error(), "t000000") {
		t.Errorf("more %t, %v", fired.More, err)
	}
}

// A timer whose entity's row is locked waits. It does not hold up the others of its row.
func TestFireLocked(t *testing.T) {
	t.Parallel()
	const n = 300
	pool, store, tx := openLocked(t, n, "t000100")
	applied, errs := 0, 0
	for more := true; more; {
		fired, err := store.FireTimers(t.Context(), 0)
		if err != nil {
			errs++
			if versioning.CauseOf(err) != versioning.Infrastructure || !strings.Contains(err.Error(), "t000100") {
				t.Fatal(err)
			}
		}
		more, applied = fired.More, applied+len(fired.Outcomes)
		if errs > 2 {
			t.Fatalf("the locked row has held up others: %d applied", applied)
		}
	}
	if applied != n-1 || errs == 0 {
		t.Errorf("%d applied, %d errors", applied, errs)
	}
	wantRows(t, pool, `SELECT entities::text || ' ' || (dues IS NULL) || ' ' || (due > now()) FROM pawl.timers`, "{t000100} false true")
	counts, err := store.CountTimers(t.Context())
	if err != nil || counts.Overdue != 1 || counts.Pending != 0 || time.Since(counts.Oldest) > 2*time.Minute {
		t.Errorf("counts %+v, %v", counts, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		if fired, err := store.FireTimers(t.Context(), 0); err != nil || len(fired.Outcomes) != 1 {
			return fmt.Errorf("%+v, %w", fired, err)
		}
		return nil
	})
	wantEachExpired(t, pool, n)
}

// A timer that is armed by a transaction that commits late fires too.
func TestFireLateCommit(t *testing.T) {
	t.Parallel()
	pool, store := openTickets(t)
	// What a transaction would have written that began two hours ago.
	openMany(t, store, 2)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `UPDATE pawl.timers SET due = now() - interval '10 seconds'`); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantFired(t, store)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFired(t, store, "t000000 expired applied", "t000001 expired applied")
	wantEachExpired(t, pool, 2)
}

// The counts and the list, for people.
func TestCountAndListTimers(t *testing.T) {
	t.Parallel()
	pool, store := openTickets(t)
	openMany(t, store, 3)
	l := &log{}
	apply(t, store, l.tell("t000001", "answered"))
	counts, err := store.CountTimers(t.Context())
	if err != nil || counts != (versioning.TimerCounts{Pending: 4}) {
		t.Errorf("counts %+v, %v", counts, err)
	}
	timers, err := store.Timers(t.Context(), postgres.TimerFilter{Machine: "ticket", Key: "t000001"})
	if err != nil || len(timers) != 2 || timers[0].Event != "expired" || timers[0].Version != 1 || timers[1].Event != "accepted" || timers[1].Version != 2 ||
		timers[1].Due.Sub(timers[0].Due).Round(time.Minute) != 23*time.Hour {
		t.Errorf("timers %+v, %v", timers, err)
	}
	for filter, want := range map[postgres.TimerFilter]int{
		{}: 4, {Limit: 3}: 3, {Event: "expired"}: 3, {Machine: "order"}: 0, {To: time.Now().Add(2 * time.Hour)}: 3, {Key: "t"}: 0,
	} {
		if timers, err := store.Timers(t.Context(), filter); len(timers) != want || err != nil {
			t.Errorf("%+v: %d timers, %v; want %d", filter, len(timers), err, want)
		}
	}
	elapse(t, pool, time.Hour)
	counts, err = store.CountTimers(t.Context())
	if err != nil || counts.Pending != 1 || counts.Overdue != 3 || time.Since(counts.Oldest) > time.Minute {
		t.Errorf("counts %+v, %v", counts, err)
	}
	fired, err := store.FireTimers(t.Context(), 2)
	if err != nil || len(fired.Outcomes) != 2 || !fired.More || time.Until(fired.Next).Round(time.Minute) != 23*time.Hour {
		t.Errorf("fired %+v, %v", fired, err)
	}
	wantRows(t, pool, `SELECT n || ' ' || event FROM pawl.timers ORDER BY 1`, "1 accepted", "1 expired")
}

// A store with a machine that can't arm timers does not touch their tables.
func TestWithoutTimers(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	mustExec(t, pool, `DROP TABLE pawl.timers, pawl.rearmed`)
	l := &log{}
	wantVerdicts(t, apply(t, store, l.say("a", "placed"), l.say("b", "captured"), l.say("a", "nosuch")), "applied", "early no_entity", "rejected unknown_event")
	mustDo(t, store, "applied", toChange("b", "placed", "m", nil))
}

// A table that is altered while timers are armed, and while they fire.
func TestFireAltered(t *testing.T) {
	t.Parallel()
	pool, store := openTickets(t)
	openMany(t, store, 2)
	mustExec(t, pool, `ALTER TABLE tickets ADD COLUMN extra text`)
	elapse(t, pool, time.Hour)
	wantFired(t, store, "t000000 expired applied", "t000001 expired applied")
	mustExec(t, pool, `TRUNCATE tickets, pawl.transitions; ALTER TABLE tickets ALTER COLUMN id TYPE varchar(10)`)
	openMany(t, store, 2)
	elapse(t, pool, time.Hour)
	mustExec(t, pool, `ALTER TABLE tickets RENAME COLUMN state TO status`)
	_, err := store.FireTimers(t.Context(), 0)
	if versioning.CauseOf(err) != versioning.Infrastructure || !strings.Contains(err.Error(), "state") {
		t.Errorf("FireTimers = %v, want an error about the column", err)
	}
	mustExec(t, pool, `ALTER TABLE tickets RENAME COLUMN status TO state`)
	testenv.Eventually(t, 10*time.Second, func() error { // in case a timer was postponed
		if fired, err := store.FireTimers(t.Context(), 0); err != nil || len(fired.Outcomes) == 0 {
			return fmt.Errorf("%+v, %w", fired, err)
		}
		return nil
	})
	wantEachExpired(t, pool, 2)
}

// No statement scans a whole table, even if it was planned when the table was empty.
func TestTimersUseTheKeys(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withLeases)
	const whole = `SELECT relname || ' ' || seq_scan FROM pg_stat_user_tables
		WHERE relname IN ('leases', 'transitions', 'timers', 'rearmed', 'parked', 'dead_letters') ORDER BY relname`
	before := query(t, pool, whole)
	before[slices.Index(before, "leases 0")] = "leases 1" // Open counts the rows by state
	used, err := pgxpool.NewWithConfig(t.Context(), pool.Config())
	if err != nil {
		t.Fatal(err)
	}
	store := open(t, used, postgres.Table{Machine: leases, Name: "leases"})
	l := &log{}
	for range 3 {
		var records []*versioning.Record
		for range 200 {
			key := fmt.Sprint(l.next)
			records = append(records, l.lease(key, "taken", lapsesIn(time.Hour)))
		}
		apply(t, store, records...)
		for i, r := range records {
			records[i] = l.lease(r.Changes[0].Key, "renewed", lapsesIn(time.Minute-time.Hour))
		}
		apply(t, store, records...)
		if n := len(fire(t, store)); n != 200 {
			t.Errorf("%d timers have fired", n)
		}
		if _, err := store.CountTimers(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	used.Close() // connections report their statistics when they close
	testenv.Eventually(t, 10*time.Second, func() error {
		if got := query(t, pool, `SELECT n_tup_del::text FROM pg_stat_user_tables WHERE relname = 'timers'`)[0]; got == "0" {
			return errors.New("the statistics do not have the deletes yet")
		}
		return nil
	})
	wantRows(t, pool, whole, before...)
}
