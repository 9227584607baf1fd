package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// edited returns a machine that differs from order.
func edited(version int, edit func(*statemachine.Definition)) *statemachine.Machine {
	d := order.Definition()
	d.Version = version
	edit(&d)
	return statemachine.MustCompile(d)
}

// renamed returns a machine in which the state paid has another name.
func renamed(version int, migrates bool) *statemachine.Machine {
	return edited(version, func(d *statemachine.Definition) {
		for i := range d.Transitions {
			tr := &d.Transitions[i]
			if tr.To == "paid" {
				tr.To = "captured"
			}
			for j, s := range tr.From {
				if s == "paid" {
					tr.From[j] = "captured"
				}
			}
		}
		if migrates {
			d.Migrations = []statemachine.Migration{{From: statemachine.In("paid"), To: "captured"}}
		}
	})
}

func TestDefinitionsAreRegistered(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	open(t, pool, postgres.Table{Machine: newerOrder, Name: "orders"})
	all, err := store.Definitions(t.Context(), "order")
	if err != nil || len(all) != 2 || all[0].Outline.Version != 1 || all[1].Hash != newerOrder.Outline().Hash() || all[0].Outline.Hash() != all[0].Hash {
		t.Errorf("Definitions = %+v, %v", all, err)
	}
	wantRows(t, pool, `SELECT version || ' ' || by || ' ' || withdrawn FROM pawl.machines ORDER BY version`,
		"1 "+pool.Config().ConnConfig.User+" false", "2 "+pool.Config().ConnConfig.User+" false")
}

func TestDefinitionUnderAKnownVersion(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	other := edited(1, func(d *statemachine.Definition) { d.Revision = "b" })
	_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: other, Name: "orders"})
	problem, ok := errors.AsType[*postgres.DefinitionError](err)
	if !ok || !errors.Is(err, postgres.ErrDefinition) || problem.Version != 1 || !strings.Contains(err.Error(), `the revision of the functions is "b", and was ""`) {
		t.Errorf("Open: %v", err)
	}
	reordered := edited(1, func(d *statemachine.Definition) { slices.Reverse(d.Transitions) })
	open(t, pool, postgres.Table{Machine: reordered, Name: "orders"})
}

// TestStranded checks that Open refuses rows in states that no definition knows, with and
// without an index on the state.
func TestStranded(t *testing.T) {
	t.Parallel()
	for _, index := range []string{"", "CREATE INDEX ON orders (state)"} {
		t.Run(index, func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			var l log
			for i := range 5 {
				key := fmt.Sprint("a", i)
				apply(t, store, l.say(key, "placed"), l.say(key, "captured"))
			}
			apply(t, store, l.say("b", "placed"))
			mustExec(t, pool, "SELECT 1; "+index)
			_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: renamed(2, false), Name: "orders"})
			problem, ok := errors.AsType[*postgres.StrandedError](err)
			if !ok || len(problem.States) != 1 || problem.States[0].State != "paid" || problem.States[0].Rows != 5 || len(problem.States[0].Keys) != 3 || problem.Sampled {
				t.Fatalf("Open: %v", err)
			}
			if !strings.Contains(err.Error(), `declare Migrations: []statemachine.Migration{{From: statemachine.In("paid")`) {
				t.Errorf("Open: %v", err)
			}
			wantRows(t, pool, `SELECT version::text FROM pawl.machines`, "1") // a version that can't start is not registered
			open(t, pool, postgres.Table{Machine: renamed(2, true), Name: "orders"})
		})
	}
}

// TestStrandedSample checks that Open reads a sample of a large table.
func TestStrandedSample(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	mustExec(t, pool, `INSERT INTO orders SELECT n, CASE WHEN n % 10 = 0 THEN 'paid' ELSE 'pending' END, 1 FROM generate_series(1, 400000) AS n`)
	mustExec(t, pool, `ANALYZE orders`)
	_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: renamed(2, false), Name: "orders"})
	problem, ok := errors.AsType[*postgres.StrandedError](err)
	if !ok || !problem.Sampled || len(problem.States) != 1 || problem.States[0].Rows < 10_000 || problem.States[0].Rows > 30_000 || !strings.Contains(err.Error(), "sample") {
		t.Errorf("Open: %v", err)
	}
}

// TestRestart checks that workers of a registered version can start again: while a newer one
// has rows in its own states, and if somebody has set a state by hand.
func TestRestart(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	newer := open(t, pool, postgres.Table{Machine: newerOrder, Name: "orders"})
	var l log
	apply(t, newer, l.say("a", "placed"), l.say("a", "held"))
	mustExec(t, pool, `INSERT INTO orders (id, state, version) VALUES ('b', 'by hand', 1)`)
	open(t, pool, postgres.Table{Machine: order, Name: "orders"})

	// The newer version is given up, so its row is stranded.
	if ok, err := newer.Withdraw(t.Context(), "order", 2); !ok || err != nil {
		t.Fatal(ok, err)
	}
	_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: "orders"})
	if problem, ok := errors.AsType[*postgres.StrandedError](err); !ok || len(problem.States) != 1 || problem.States[0].State != "held" {
		t.Errorf("Open: %v", err)
	}
	open(t, pool, postgres.Table{Machine: newerOrder, Name: "orders"})
	wantRows(t, pool, `SELECT version::text FROM pawl.machines WHERE withdrawn`)
	if ok, err := newer.Withdraw(t.Context(), "order", 7); ok || err != nil {
		t.Error(ok, err)
	}
}

// TestNewerDefinition checks that an old worker keeps what only a newer version can apply, and
// what follows it, also if the newer version is registered while the old one runs.
func TestNewerDefinition(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	var l log
	wantVerdicts(t, apply(t, old, l.say("a", "placed"), l.say("z", "placed"), l.say("z", "held")), "applied", "applied", "rejected unknown_event")
	newer := open(t, pool, postgres.Table{Machine: newerOrder, Name: "orders"})
	wantVerdicts(t, apply(t, old, l.say("a", "held"), l.say("a", "captured"), l.say("b", "placed"), l.say("b", "nosuch")),
		"early newer_definition", "early newer_definition", "applied", "rejected unknown_event")
	if _, err := old.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, pool, `SELECT entity || ' ' || reason || ' ' || definition FROM pawl.parked ORDER BY seq`, "a newer_definition 1", "a newer_definition 1")
	swept, err := newer.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != 2 {
		t.Fatalf("Sweep = %+v, %v", swept, err)
	}
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`, "a paid 3", "b pending 1", "z pending 1")
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)

	// What the old one has buried before is judged again.
	decode := func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "order", Key: "z", Event: "held"}}, nil
	}
	settled, more, err := newer.RedriveOlder(t.Context(), ownPartition, func(r *versioning.Record) ([]versioning.Change, error) {
		if r.Origin.Offset == 2 {
			return decode(r)
		}
		return []versioning.Change{{Machine: "order", Key: "b", Event: "nosuch"}}, nil
	})
	if err != nil || more || len(settled) != 1 || settled[0].Outcome.Verdict != versioning.Applied {
		t.Errorf("RedriveOlder = %+v, %v, %v", settled, more, err)
	}
	if again, _, err := newer.RedriveOlder(t.Context(), ownPartition, decode); err != nil || len(again) != 0 {
		t.Errorf("RedriveOlder again = %+v, %v", again, err)
	}
	wantRows(t, pool, `SELECT entity || ' ' || definition || ' ' || attempts FROM pawl.dead_letters`, "b 2 2")
}

// TestLegalInANewerVersion checks that an event which an old version would reject in a state is
// kept for the newer version in which it is legal there.
func TestLegalInANewerVersion(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	open(t, pool, postgres.Table{Machine: edited(2, func(d *statemachine.Definition) {
		d.Transitions[4].From = append(d.Transitions[4].From, "paid") // delivered
	}), Name: "orders"})
	open(t, pool, postgres.Table{Machine: edited(3, func(d *statemachine.Definition) {
		d.Transitions[1].From = append(d.Transitions[1].From, "shipped") // captured
	}), Name: "orders"})
	var l log
	wantVerdicts(t, apply(t, old, l.say("a", "placed"), l.say("a", "captured"), l.say("a", "shipped"), l.say("a", "captured"), l.say("a", "delivered")),
		"applied", "applied", "applied", "early newer_definition", "early newer_definition")
	wantVerdicts(t, apply(t, old, l.say("b", "placed"), l.say("b", "delivered"), l.say("b", "captured"), l.say("b", "placed")),
		"applied", "early not_yet", "applied", "rejected illegal")
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	var l log
	for i := range 25 {
		key := fmt.Sprintf("a%02d", i)
		apply(t, old, l.say(key, "placed"), l.say(key, "captured"))
	}
	apply(t, old, l.say("b", "placed"))
	newer := open(t, pool, postgres.Table{Machine: renamed(2, true), Name: "orders"})
	wantVerdicts(t, apply(t, newer, l.say("a03", "shipped"), l.say("a03", "delivered")), "early not_yet", "early not_yet")

	dry, err := newer.Migrate(t.Context(), postgres.Migration{DryRun: true, Batch: 7})
	if err != nil || dry.Moved != 25 || dry.Left != 0 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	wantRows(t, pool, `SELECT DISTINCT state FROM orders ORDER BY state`, "paid", "pending")

	var progress []int64
	done, err := newer.Migrate(t.Context(), postgres.Migration{Batch: 10, PerSecond: 1_000_000, Progress: func(m postgres.Migrated) { progress = append(progress, m.Moved) }})
	if err != nil || done.Moved != 25 || done.Left != 0 || !slices.Equal(progress, []int64{10, 20, 25}) {
		t.Errorf("Migrate = %+v, %v; progress %d", done, err, progress)
	}
	wantRows(t, pool, `SELECT state || ' ' || count(*) || ' ' || max(version) FROM orders GROUP BY state ORDER BY state`, "captured 24 3", "delivered 1 5", "pending 1 1")
	wantRows(t, pool, `SELECT DISTINCT event || ' ' || from_state || ' ' || to_state || ' ' || definition_version FROM pawl.transitions WHERE event LIKE 'pawl.%'`,
		"pawl.migrated paid captured 2")
	if again, err := newer.Migrate(t.Context(), postgres.Migration{}); err != nil || again.Moved != 0 {
		t.Errorf("Migrate again = %+v, %v", again, err)
	}
	wantVerdicts(t, apply(t, newer, l.say("a03", "pawl.migrated")), "rejected unknown_event")
}

// TestMigrateData checks that a migration computes, that one which refuses stays, and that one
// which PostgreSQL refuses does not keep the others.
func TestMigrateData(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, amount bigint CHECK (amount < 1000))`)
	type priced struct {
		Amount *int64 `db:"amount"`
	}
	machine := edited(2, func(d *statemachine.Definition) {
		d.Migrations = []statemachine.Migration{
			{From: statemachine.In("old"), To: "cancelled", When: statemachine.When("free", func(row priced, _ struct{}) bool { return row.Amount == nil })},
			{From: statemachine.In("old"), To: "paid", Do: statemachine.Do(func(_ *statemachine.Firing, row *priced, _ struct{}) error {
				if *row.Amount < 0 {
					return errors.New("negative")
				}
				*row.Amount *= 10
				return nil
			})},
		}
	})
	mustExec(t, pool, `INSERT INTO orders (id, state, version, amount) VALUES
		('a', 'old', 3, NULL), ('b', 'old', 1, 5), ('c', 'old', 1, -1), ('d', 'old', 1, 200), ('e', 'old', 7, 6)`)
	store := open(t, pool, postgres.Table{Machine: machine, Name: "orders"})
	dry, err := store.Migrate(t.Context(), postgres.Migration{DryRun: true})
	if err != nil || dry.Moved != 4 || dry.Left != 1 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	done, err := store.Migrate(t.Context(), postgres.Migration{Machine: "order"})
	if err != nil || done.Moved != 3 || done.Left != 2 || len(done.Failures) != 2 {
		t.Errorf("Migrate = %+v, %v", done, err)
	}
	wantRows(t, pool, `SELECT concat_ws(' ', id, state, version, amount) FROM orders ORDER BY id`, "a cancelled 4", "b paid 2 50", "c old 1 -1", "d old 1 200", "e paid 8 60")
	wantRows(t, pool, `SELECT d::text FROM pawl.dead_letters AS d`)
}

// TestMigrateWhileOthersWrite migrates in two processes at once while an old worker creates rows
// in the retired state.
func TestMigrateWhileOthersWrite(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	newer := [2]*postgres.Store{}
	for i := range newer {
		newer[i] = open(t, pool, postgres.Table{Machine: renamed(2, true), Name: "orders"})
	}
	done := make(chan error, 2)
	for _, store := range newer {
		go func() {
			for {
				n := 0
				_, err := store.Migrate(t.Context(), postgres.Migration{Batch: 5})
				if err == nil {
					err = pool.QueryRow(t.Context(), `SELECT count(*) FROM orders WHERE state = 'captured'`).Scan(&n)
				}
				if err != nil || n == 200 {
					done <- err
					return
				}
			}
		}()
	}
	var l log
	for i := range 200 {
		key := fmt.Sprint(i)
		apply(t, old, l.say(key, "placed"), l.say(key, "captured"))
	}
	for range newer {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wantRows(t, pool, `SELECT DISTINCT state || ' ' || version FROM orders`, "captured 3")
}

// ownPartition is the partition that a log's records are from.
var ownPartition = map[string][]int32{"orders": {0}}

// imported returns a newer order machine, in which the event imported creates an entity.
func imported() *statemachine.Machine {
	return edited(2, func(d *statemachine.Definition) {
		d.Transitions = append(d.Transitions, statemachine.Transition{Event: "imported", To: "paid"})
	})
}

// TestNewerCreates checks that a record is released which only a newer version can apply, although
// its entity has no row that could move.
func TestNewerCreates(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	newer := open(t, pool, postgres.Table{Machine: imported(), Name: "orders"})
	var l log
	wantVerdicts(t, apply(t, old, l.say("a", "imported"), l.say("a", "shipped")), "early newer_definition", "early newer_definition")
	swept, err := newer.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != 2 {
		t.Errorf("Sweep = %+v, %v", swept, err)
	}
	wantRows(t, pool, `SELECT id || ' ' || state FROM orders`, "a shipped")
}

// TestWithdrawn checks that records which wait for a version that is then withdrawn are judged
// again by the older one, whose store is open all the time.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	open(t, pool, postgres.Table{Machine: imported(), Name: "orders"})
	var l log
	wantVerdicts(t, apply(t, old, l.say("a", "placed"), l.say("b", "placed"), l.say("a", "imported"), l.say("a", "captured"), l.say("c", "imported"), l.say("c", "placed"),
		l.record(versioning.Change{Machine: "order", Key: "b", Event: "imported"}, versioning.Change{Machine: "order", Key: "d", Event: "placed"})),
		"applied", "applied", "early newer_definition", "early newer_definition", "early newer_definition", "early newer_definition", "early newer_definition")
	if ok, err := old.Withdraw(t.Context(), "order", 2); !ok || err != nil {
		t.Fatal(ok, err)
	}
	swept, err := old.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != 5 {
		t.Errorf("Sweep = %+v, %v", swept, err)
	}
	wantRows(t, pool, `SELECT id || ' ' || state FROM orders ORDER BY id`, "a paid", "b pending", "c pending")
	wantRows(t, pool, `SELECT entity || ' ' || reason || ' ' || definition FROM pawl.dead_letters ORDER BY entity`, "a unknown_event 1", "b unknown_event 1", "c unknown_event 1")
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
}

// TestRedriveOlderOnce checks that each dead letter is redriven once for a newer version, whatever
// becomes of it, and that only those are whose version is known and whose records the caller can decode.
func TestRedriveOlderOnce(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	var l log
	records := []*versioning.Record{l.say("a", "nosuch"), l.say("b", "nosuch"), l.say("c", "nosuch"), l.say("d", "imported"), l.say("e", "imported"), l.say("f", "imported")}
	records[4].Origin.Topic = "others" // another worker decodes it in another way
	for _, r := range records {
		wantVerdicts(t, apply(t, old, r), "rejected unknown_event")
	}
	if outcome, err := old.Deliver(t.Context(), versioning.Change{Machine: "order", Key: "g", Event: "imported", MessageID: "job"}); err != nil || outcome.Verdict != versioning.Rejected {
		t.Fatalf("Deliver = %+v, %v", outcome, err)
	}
	mustExec(t, pool, `UPDATE pawl.dead_letters SET definition = 0 WHERE entity = 'f'`) // from before the column existed

	newer := open(t, pool, postgres.Table{Machine: imported(), Name: "orders"})
	var decoded []int64
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		decoded = append(decoded, r.Origin.Offset)
		switch r.Origin.Offset {
		case 0:
			return nil, errors.New("garbage")
		case 1:
			return nil, nil // ignored now
		}
		return records[r.Origin.Offset].Changes, nil
	}
	settled, more, err := newer.RedriveOlder(t.Context(), ownPartition, decode)
	if err != nil || more || len(settled) != 2 || !slices.Equal(decoded, []int64{0, 1, 2, 3}) {
		t.Errorf("RedriveOlder = %+v, %v, %v; decoded %d", settled, more, err, decoded)
	}
	decoded = nil
	if settled, _, err = newer.RedriveOlder(t.Context(), ownPartition, decode); err != nil || len(settled)+len(decoded) > 0 {
		t.Errorf("RedriveOlder again = %+v, %v; decoded %d", settled, err, decoded)
	}
	wantRows(t, pool, `SELECT id FROM orders ORDER BY id`, "d", "g")
	wantRows(t, pool, `SELECT reason || ' ' || count(*) FROM pawl.dead_letters GROUP BY reason ORDER BY reason`, "undecodable 1", "unknown_event 3")
}
