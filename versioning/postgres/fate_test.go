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
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// fates are machines that give different verdicts on "placed" for an entity that does
// not exist, like different builds of a worker.
var fates = map[string]*statemachine.Machine{
	"applies": statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{{Event: "placed", To: "pending"}},
		Terminal:    statemachine.In("pending"),
	}),
	"parks": statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 2,
		Transitions: []statemachine.Transition{
			{Event: "drafted", To: "draft"}, {Event: "placed", From: statemachine.In("draft"), To: "pending"},
		},
		Terminal: statemachine.In("pending"),
	}),
	"dead-letters": statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 3,
		Transitions: []statemachine.Transition{{
			Event: "placed", To: "pending",
			Do: statemachine.Do(func(*statemachine.Firing, *struct{}, struct{}) error { return errors.New("no") }),
		}},
		Terminal: statemachine.In("pending"),
	}),
}

// TestOneFate lets two transactions settle one record in different ways. The second one
// writes after the first has written and before it commits.
func TestOneFate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ first, second, want, fate string }{
		{"applies", "dead-letters", "duplicate", "applied"},
		{"dead-letters", "applies", "rejected refused", "dead"},
		{"parks", "dead-letters", "rejected refused", "dead"},
		{"dead-letters", "parks", "rejected refused", "dead"},
		{"applies", "parks", "early no_entity", "applied"},
		{"parks", "applies", "applied", "applied"},
		{"dead-letters", "dead-letters", "rejected refused", "dead"},
		{"parks", "parks", "early no_entity", "parked"},
		{"applies", "applies", "duplicate", "applied"},
	} {
		t.Run(c.first+", "+c.second, func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, withOrders)
			for _, m := range fates {
				open(t, pool, postgres.Table{Machine: m, Name: "orders"}) // so that they are registered
			}
			gate := newGate(t, pool)
			first, second := gate.store(t, fates[c.first]), open(t, pool, postgres.Table{Machine: fates[c.second], Name: "orders"})
			var l log
			record := l.say("a", "placed")
			again := *record

			done := gate.run(t, func() error {
				first.Prepare(record)
				_, err := first.Apply(t.Context(), "", []*versioning.Record{record})
				return err
			})
			second.Prepare(&again)
			verdict := make(chan string, 1)
			go func() {
				result, err := second.Apply(t.Context(), "", []*versioning.Record{&again})
				verdict <- fmt.Sprint(verdicts(result.Outcomes), err)
			}()
			var got string
			testenv.Eventually(t, 10*time.Second, func() error {
				select {
				case got = <-verdict:
					return nil
				default:
					return gate.waiting(t, 2)
				}
			})
			gate.open(t)
			if err := <-done; err != nil {
				t.Error("first:", err)
			}
			if got == "" {
				got = <-verdict
			}
			if want := fmt.Sprintf("[%s] <nil>", c.want); got != want {
				t.Errorf("the second got %s, want %s", got, want)
			}
			// Only transactions that apply and park at the same time need the sweep.
			if _, err := open(t, pool, postgres.Table{Machine: fates["applies"], Name: "orders"}).Sweep(t.Context(), versioning.Reading{}); err != nil {
				t.Error(err)
			}
			wantRows(t, pool, `SELECT 'applied' FROM pawl.transitions UNION ALL SELECT 'parked' FROM pawl.parked
				UNION ALL SELECT 'dead' FROM pawl.dead_letters`, c.fate)
		})
	}
}

// A gate stops transactions of its stores after they have written and before they
// commit.
type gate struct {
	pool, held *pgxpool.Pool
	shut       *pgx.Conn
}

const gateLock = 42

func newGate(t *testing.T, pool *pgxpool.Pool) *gate {
	t.Helper()
	mustExec(t, pool, `CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF current_setting('application_name') = 'held' THEN PERFORM pg_advisory_xact_lock_shared(42); END IF; RETURN NULL; END $$`)
	for _, table := range []string{"pawl.transitions", "pawl.parked", "pawl.dead_letters"} {
		mustExec(t, pool, `CREATE TRIGGER pass AFTER INSERT ON `+table+` FOR EACH ROW EXECUTE FUNCTION pass()`)
	}
	config := pool.Config()
	config.ConnConfig.RuntimeParams["application_name"] = "held"
	held, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(held.Close)
	shut, err := pgx.Connect(t.Context(), pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shut.Close(context.Background()) })
	if _, err := shut.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, gateLock); err != nil {
		t.Fatal(err)
	}
	return &gate{pool, held, shut}
}

func (g *gate) store(t *testing.T, machine *statemachine.Machine) *postgres.Store {
	t.Helper()
	return open(t, g.held, postgres.Table{Machine: machine, Name: "orders"})
}

// run starts work, and waits until it has reached the gate.
func (g *gate) run(t *testing.T, work func() error) (done chan error) {
	t.Helper()
	done = make(chan error, 1)
	go func() { done <- work() }()
	testenv.Eventually(t, 10*time.Second, func() error { return g.waiting(t, 1) })
	return done
}

// waiting returns an error unless n of the database's sessions wait for locks.
func (g *gate) waiting(t *testing.T, n int) error {
	t.Helper()
	var waiting int
	err := g.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
	if err == nil && waiting < n {
		err = fmt.Errorf("%d sessions wait for locks", waiting)
	}
	return err
}

func (g *gate) open(t *testing.T) {
	t.Helper()
	if _, err := g.shut.Exec(t.Context(), `SELECT pg_advisory_unlock($1)`, gateLock); err != nil {
		t.Fatal(err)
	}
}

// TestUndecodableOfOthers checks which worker a dead letter of an undecodable record
// belongs to, if two workers consume one topic for different machines. Dead letters of
// earlier versions do not say.
func TestUndecodableOfOthers(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	mustExec(t, pool, `CREATE TABLE payments (LIKE orders INCLUDING ALL); CREATE TABLE refunds (LIKE orders INCLUDING ALL)`)
	table := func(name string) postgres.Table {
		return postgres.Table{Name: name + "s", Machine: statemachine.MustCompile(statemachine.Definition{
			Name: name, Version: 1,
			Transitions: []statemachine.Transition{{Event: "made", To: "new"}, {Event: "done", From: statemachine.In("new"), To: "old"}},
			Terminal:    statemachine.In("old"),
		})}
	}
	two, one := open(t, pool, table("refund"), table("order")), open(t, pool, table("payment"))
	var l log
	bad := l.record()
	give := func(store *postgres.Store, err error, want string, changes ...versioning.Change) {
		t.Helper()
		r := &versioning.Record{Origin: bad.Origin, Changes: changes, Err: err}
		wantVerdicts(t, apply(t, store, r), want)
	}
	garbage := errors.New("garbage")
	for range 2 {
		give(two, garbage, "rejected undecodable")
		give(one, garbage, "rejected undecodable")
	}
	wantRows(t, pool, `SELECT scope FROM pawl.dead_letters ORDER BY scope`, "order,refund", "payment")
	give(two, nil, "early no_entity", versioning.Change{Machine: "refund", Key: "a", Event: "done"})
	wantRows(t, pool, `SELECT scope FROM pawl.dead_letters`, "payment")
	give(two, garbage, "rejected undecodable") // as stored by a worker of an earlier version
	wantRows(t, pool, `SELECT scope FROM pawl.dead_letters ORDER BY scope`, "order,refund", "payment")
	wantRows(t, pool, `SELECT scope FROM pawl.parked`)

	// A store with an additional machine recognizes them.
	three := open(t, pool, table("refund"), table("order"), table("payment"))
	mustExec(t, pool, `DELETE FROM pawl.dead_letters WHERE scope = 'payment'`)
	give(three, garbage, "rejected undecodable")
	wantRows(t, pool, `SELECT scope FROM pawl.dead_letters`, "order,refund")
	give(three, nil, "applied", versioning.Change{Machine: "payment", Key: "a", Event: "made"})
	wantRows(t, pool, `SELECT scope FROM pawl.dead_letters`)

	// An earlier version's dead letter does not say whose it is, so it stays until it
	// is redriven.
	bad = l.record()
	give(two, garbage, "rejected undecodable")
	mustExec(t, pool, `UPDATE pawl.dead_letters SET scope = ''`)
	give(two, garbage, "rejected undecodable")
	change := versioning.Change{Machine: "order", Key: "a", Event: "done"}
	letters, err := two.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(letters) != 1 {
		t.Fatal(letters, err)
	}
	outcomes, err := two.Redrive(t.Context(), letters, func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{change}, nil
	})
	if got := fmt.Sprint(verdicts(outcomes), err); got != "[early no_entity] <nil>" {
		t.Error(got)
	}
	wantRows(t, pool, `SELECT scope FROM pawl.parked`, "order")
	wantRows(t, pool, `SELECT scope FROM pawl.dead_letters`)
	give(two, nil, "early no_entity", change)
}

// TestDecodedTwiceAtOnce lets two workers find at the same time that a dead letter can
// be decoded now.
func TestDecodedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	for i, event := range []statemachine.Event{"placed", "nosuch", "captured"} {
		good := l.say(key(i), event)
		bad := *good
		bad.Changes, bad.Err = nil, errors.New("garbage")
		apply(t, store, &bad)
		again := *good
		tr.before(first(1, func() { apply(t, store, &again) }))
		want := []string{"duplicate", "rejected unknown_event", "early no_entity"}[i]
		wantVerdicts(t, apply(t, hooked, good), want)
	}
	wantRows(t, pool, `SELECT reason || ' ' || attempts FROM pawl.dead_letters`, "unknown_event 3") // each attempt counts
	wantRows(t, pool, `SELECT reason FROM pawl.parked`, "no_entity")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.transitions`, "1")
}
