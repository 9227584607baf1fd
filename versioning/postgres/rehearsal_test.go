package postgres_test

import (
	"cmp"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// rehearse is like apply, for a rehearsal with a pool.
func rehearse(t *testing.T, pool *pgxpool.Pool, records ...*versioning.Record) (*postgres.Rehearsal, versioning.Result) {
	t.Helper()
	rehearsal, err := postgres.OpenRehearsal(t.Context(), pool, "", postgres.Table{Machine: order, Name: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		rehearsal.Prepare(r)
	}
	var all versioning.Result
	lists, index, err := rehearsal.Split(t.Context(), records, 4)
	if err != nil {
		t.Fatal(err)
	}
	all.Outcomes = make([]versioning.Outcome, len(records))
	for n, list := range lists {
		result, err := rehearsal.Apply(t.Context(), "", list)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range result.Outcomes {
			all.Outcomes[index[n][i]] = o
		}
		all.Released = append(all.Released, result.Released...)
	}
	return rehearsal, all
}

// ordersOf returns records of every kind: some for entities that setUp has made.
func (l *log) ordersOf() []*versioning.Record {
	return []*versioning.Record{
		l.say("a", "placed"), l.say("b", "captured"), l.say("b", "placed"), l.say("there", "captured"),
		l.say("there", "placed"), l.say("a", "nosuch"), l.record(),
		l.record(versioning.Change{Machine: "order", Key: "a", Event: "noted"}, versioning.Change{Machine: "order", Key: "there", Event: "shipped"}),
		l.say("waits", "placed"),
	}
}

var verdictsOfOrders = []string{
	"applied", "applied", "applied", "applied", "rejected illegal", "rejected unknown_event", "ignored", "applied", "applied",
}

func setUpRehearsal(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	l := log{next: 1000}
	apply(t, store, l.say("there", "placed"), l.say("waits", "captured"))
}

func wantRehearsed(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var l log
	rehearsal, got := rehearse(t, pool, l.ordersOf()...)
	wantVerdicts(t, got, verdictsOfOrders...)
	if len(got.Released) != 1 || got.Released[0].Outcome.Verdict != versioning.Applied {
		t.Errorf("released: %v", got.Released)
	}
	if n := rehearsal.Changed(); n != 4 {
		t.Errorf("Changed = %d", n)
	}
}

// TestRehearsalNeedsOnlyToRead checks that a Rehearsal works for a role that may only read,
// and in sessions that are read-only.
func TestRehearsalNeedsOnlyToRead(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	setUpRehearsal(t, pool)
	restricted, role := asRole(t, pool)
	mustExec(t, pool, fmt.Sprintf(`GRANT USAGE ON SCHEMA pawl TO %s; GRANT SELECT ON ALL TABLES IN SCHEMA pawl, public TO %[1]s`, role))
	wantRehearsed(t, restricted)

	config := pool.Config()
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	readOnly, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(readOnly.Close)
	wantRehearsed(t, readOnly)
}

// TestRehearsalOnStandby checks that a Rehearsal works on a standby.
func TestRehearsalOnStandby(t *testing.T) {
	t.Parallel()
	server, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	if _, err := exec.LookPath(filepath.Join(server.BinDir(), "pg_basebackup")); err != nil {
		t.Skipf("this test needs pg_basebackup: %v", err)
	}
	if err := createOrders(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	setUpRehearsal(t, pool)
	standby, err := server.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	reader, err := pgxpool.New(t.Context(), standby.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	testenv.Eventually(t, 30*time.Second, func() error {
		var n int
		err := reader.QueryRow(t.Context(), `SELECT count(*) FROM pawl.parked`).Scan(&n)
		if err == nil && n == 0 {
			err = errors.New("the standby has not caught up")
		}
		return err
	})
	wantRehearsed(t, reader)
}

// TestRehearsalOfParked rehearses records that release one which the database has parked. It
// waits for one entity after the other.
func TestRehearsalOfParked(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	both := func(l *log) *versioning.Record {
		return l.record(versioning.Change{Machine: "order", Key: "a", Event: "captured"}, versioning.Change{Machine: "order", Key: "b", Event: "captured"})
	}
	before := log{next: 1000}
	wantVerdicts(t, apply(t, store, both(&before), before.say("b", "captured")), "early no_entity", "early no_entity")
	var l log
	rehearsal, got := rehearse(t, pool, l.say("a", "placed"))
	wantVerdicts(t, got, "applied")
	again := func(r *versioning.Record) versioning.Result {
		t.Helper()
		rehearsal.Prepare(r)
		got, err := rehearsal.Apply(t.Context(), "", []*versioning.Record{r})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	redelivered := log{next: 1000}
	wantVerdicts(t, again(both(&redelivered)), "early no_entity")
	got = again(l.say("b", "placed"))
	var released []string
	for _, s := range got.Released {
		released = append(released, fmt.Sprintf("%d %s %s", s.Record.Origin.Offset, s.Outcome.Verdict, s.Outcome.Reason))
	}
	if diff := gocmp.Diff([]string{"1000 applied ", "1001 rejected illegal"}, released); diff != "" {
		t.Errorf("released (-want +got):\n%s", diff)
	}
}

// TestRedecoded checks that a Rehearsal counts the records that are decoded to something
// else than when they were applied, and no others.
func TestRedecoded(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	records := func(note string) []*versioning.Record {
		var l log
		return []*versioning.Record{
			l.set("a", "placed", versioning.Columns{"note": "same"}),
			l.set("b", "placed", versioning.Columns{"note": note}),
			l.set("a", "captured", versioning.Columns{"note": note}),
			l.set("c", "shipped", versioning.Columns{"note": note}), // parked
			l.say("d", "placed"),
		}
	}
	apply(t, store, records("before")...)
	if rehearsal, got := rehearse(t, pool, records("before")...); rehearsal.Redecoded().Records != 0 {
		t.Errorf("%+v; %v", rehearsal.Redecoded(), verdicts(got.Outcomes))
	}
	rehearsal, got := rehearse(t, pool, records("after")...)
	wantVerdicts(t, got, "duplicate", "duplicate", "duplicate", "early no_entity", "duplicate")
	redecoded := rehearsal.Redecoded()
	if redecoded.Records != 2 || len(redecoded.Samples) != 2 {
		t.Errorf("%+v", redecoded)
	}
	slices.SortFunc(redecoded.Samples, func(a, b postgres.Redecoding) int { return cmp.Compare(a.Record.Origin.Offset, b.Record.Origin.Offset) })
	for i, s := range redecoded.Samples {
		if want := int64(1 + i); s.Record.Origin.Offset != want {
			t.Errorf("sample %d is %v, not the record at offset %d", i, s.Record.Origin, want)
		}
		if s.Now == nil || s.Then.Entity != s.Now.Entity || s.Then.Event != s.Now.Event || s.Then.SameColumns(*s.Now) {
			t.Errorf("sample %d: %+v, %+v", i, s.Then, s.Now)
		}
	}
}

// TestRedecodedOfSeveralChanges pairs the steps of a record with the right changes of it.
func TestRedecodedOfSeveralChanges(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	record := func(changes ...versioning.Change) *versioning.Record {
		var l log
		for i := range changes {
			changes[i].Machine, changes[i].MessageID = "order", "m"
		}
		return l.record(changes...)
	}
	set := func(note string) versioning.Columns { return versioning.Columns{"note": note} }
	placed := versioning.Change{Key: "a", Event: "placed"}
	apply(t, store, record(placed, versioning.Change{Key: "a", Event: "captured", Set: set("before")}))
	for _, c := range []struct {
		now         []versioning.Change
		then, event statemachine.Event
		entity      string
	}{
		{[]versioning.Change{placed, {Key: "a", Event: "captured", Set: set("after")}}, "captured", "captured", "a"},
		{[]versioning.Change{placed, {Key: "b", Event: "placed"}}, "captured", "placed", "b"},
		{[]versioning.Change{{Key: "b", Event: "captured"}, {Key: "a", Event: "placed", Set: set("after")}}, "placed", "placed", "a"},
	} {
		rehearsal, _ := rehearse(t, pool, record(c.now...))
		if more, err := rehearsal.LookUpOrigins(t.Context()); more || err != nil {
			t.Fatal(more, err)
		}
		got := rehearsal.Redecoded()
		if got.Records != 1 || len(got.Samples) != 1 {
			t.Errorf("%v: %+v", c.now, got)
			continue
		}
		s := got.Samples[0]
		if s.Then.Entity.Key != "a" || s.Then.Event != c.then || s.Now == nil || s.Now.Entity.Key != c.entity || s.Now.Event != c.event {
			t.Errorf("%v: then %+v, now %+v", c.now, s.Then, s.Now)
		}
	}
}
