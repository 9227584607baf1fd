package postgres_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A store that has written a row need not read it, and it need not look for an entity whose
// first event comes.
func TestRecall(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, tr := traced(t, pool)
	var l log
	for _, c := range []struct {
		name    string
		records []*versioning.Record
		want    []string
		trips   int
	}{
		{"nothing is known yet", []*versioning.Record{l.say("a", "placed")}, repeat("applied", 1), 2},
		{"known", []*versioning.Record{l.say("a", "noted")}, repeat("applied", 1), 1},
		{"known, then known", []*versioning.Record{l.say("a", "noted"), l.say("a", "noted")}, repeat("applied", 2), 1},
		{"new", []*versioning.Record{l.say("b", "placed"), l.say("b", "noted"), l.say("c", "placed")}, repeat("applied", 3), 1},
		{"known and new", []*versioning.Record{l.say("a", "captured"), l.say("d", "placed"), l.say("b", "captured")}, repeat("applied", 3), 1},
		{"not known", []*versioning.Record{l.say("a", "shipped"), l.say("e", "captured")}, []string{"applied", "early no_entity"}, 2},
		{"parked", []*versioning.Record{l.say("e", "placed")}, repeat("applied", 1), 2},
		{"released", []*versioning.Record{l.say("e", "shipped")}, repeat("applied", 1), 2},
		{"known again", []*versioning.Record{l.say("e", "delivered")}, repeat("applied", 1), 1},
		{"not legal", []*versioning.Record{l.say("b", "noted")}, []string{"rejected illegal"}, 2},
	} {
		_, trips := tr.counted(func() { wantVerdicts(t, apply(t, store, c.records...), c.want...) })
		if trips != c.trips {
			t.Errorf("%s: %d round trips, want %d", c.name, trips, c.trips)
		}
	}
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`,
		"a shipped 6", "b paid 3", "c pending 1", "d pending 1", "e delivered 4")
}

// An entity that has made many steps is recalled too, and so are all of its messages.
func TestRecallOfManySteps(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, tr := traced(t, pool)
	var l log
	apply(t, store, l.say("a", "placed"))
	var made []*versioning.Record
	for i := range 12 {
		batch := []*versioning.Record{l.say("a", "noted")}
		for range 20 {
			batch = append(batch, l.say("a", "noted"))
		}
		if i%3 == 0 {
			batch = append(batch, l.say(fmt.Sprint("b", i), "placed"))
		}
		_, trips := tr.counted(func() { wantVerdicts(t, apply(t, store, batch...), repeat("applied", len(batch))...) })
		if trips != 1 {
			t.Errorf("batch %d: %d round trips, want 1", i, trips)
		}
		made = append(made, batch...)
	}
	for _, r := range made {
		wantVerdicts(t, apply(t, store, r), "duplicate")
	}
	wantRows(t, pool, `SELECT version::text FROM orders WHERE id = 'a'`, "253")
}

// A meddler changes what a store remembers.
type meddler struct {
	t     *testing.T
	pool  *pgxpool.Pool
	store *postgres.Store // which remembers
	other *postgres.Store // of another worker
}

func (m meddler) apply(records ...*versioning.Record) {
	m.t.Helper()
	apply(m.t, m.other, records...)
}

func (m meddler) exec(sql string) {
	m.t.Helper()
	mustExec(m.t, m.pool, sql)
}

// failOver makes the database look like one on another server, where message made has moved the
// entity instead of message lost.
func (m meddler) failOver() {
	m.t.Helper()
	m.exec(`ALTER TABLE pawl.marks RENAME TO former; CREATE TABLE pawl.marks (LIKE pawl.former INCLUDING ALL); DROP TABLE pawl.former`)
	m.exec(`UPDATE pawl.transitions SET message_id = 'made' WHERE message_id = 'lost'`)
}

// What a store remembers is wrong, because of what others have done since. It finds that out.
func TestRecallIsWrong(t *testing.T) { //nolint:tparallel // the cases share a log
	t.Parallel()
	l := log{next: 1000}
	of := func(message, key string, event statemachine.Event) *versioning.Record {
		r := l.say(key, event)
		r.Changes[0].MessageID = message
		return r
	}
	dead := l.say("a", "captured")
	for name, c := range map[string]struct {
		remembered *versioning.Record // applied after a was placed
		meddle     func(meddler)
		records    []*versioning.Record // applied then
		want       []string             // their verdicts
		rows       []string             // afterwards
		rest       []string             // records that are parked or dead
	}{
		"another worker has moved the row": {
			meddle:  func(m meddler) { m.apply(l.say("a", "captured")) },
			records: []*versioning.Record{l.say("a", "shipped")},
			want:    []string{"applied"}, rows: []string{"a shipped 3"},
		},
		"another worker has made the same step": {
			meddle:  func(m meddler) { m.apply(of("m", "a", "noted")) },
			records: []*versioning.Record{of("m", "a", "noted")},
			want:    []string{"duplicate"}, rows: []string{"a pending 2"},
		},
		"another worker has created the entity": {
			meddle:  func(m meddler) { m.apply(of("m", "b", "placed")) },
			records: []*versioning.Record{of("m", "b", "placed"), l.say("b", "captured"), l.say("a", "captured")},
			want:    []string{"duplicate", "applied", "applied"}, rows: []string{"a paid 2", "b paid 2"},
		},
		"the message has moved the row": {
			remembered: of("m", "a", "noted"),
			records:    []*versioning.Record{l.say("a", "noted"), of("m", "a", "noted"), l.say("a", "captured")},
			want:       []string{"applied", "duplicate", "applied"}, rows: []string{"a paid 4"},
		},
		"the message has moved the row, after too many others to know them all": {
			meddle: func(m meddler) {
				for i := range 20 {
					m.apply(of(fmt.Sprint("m", i), "a", "noted"))
				}
				for range 4 { // after the first, it does not rely on what it remembers for a while
					apply(m.t, m.store, l.say("a", "noted"))
				}
			},
			records: []*versioning.Record{of("m18", "a", "noted")},
			want:    []string{"duplicate"}, rows: []string{"a pending 25"},
		},
		"a record was parked": {
			meddle:  func(m meddler) { m.apply(l.say("a", "shipped")) },
			records: []*versioning.Record{l.say("a", "captured")},
			want:    []string{"applied"}, rows: []string{"a shipped 3"},
		},
		"a record was parked for an entity that does not exist": {
			meddle:  func(m meddler) { m.apply(l.say("b", "captured")) },
			records: []*versioning.Record{l.say("a", "captured"), l.say("b", "placed"), l.say("b", "shipped")},
			want:    []string{"applied", "applied", "applied"}, rows: []string{"a paid 2", "b shipped 3"},
		},
		"the record is a dead letter": {
			meddle: func(m meddler) {
				m.exec(`UPDATE orders SET state = 'shipped'`)
				m.apply(dead)
				m.exec(`UPDATE orders SET state = 'pending'`)
			},
			records: []*versioning.Record{dead},
			want:    []string{"rejected illegal"}, rows: []string{"a pending 1"}, rest: []string{"dead"},
		},
		"the event was not legal": {
			remembered: l.say("a", "captured"),
			meddle:     func(m meddler) { m.exec(`UPDATE orders SET state = 'pending', version = 7`) },
			records:    []*versioning.Record{l.say("a", "noted")},
			want:       []string{"applied"}, rows: []string{"a pending 8"},
		},
		"the row was deleted": {
			meddle:  func(m meddler) { m.exec(`DELETE FROM orders`) },
			records: []*versioning.Record{l.say("a", "captured")},
			want:    []string{"rejected entity_gone"}, rest: []string{"dead"},
		},
		"the row of an entity that is not remembered was deleted": {
			meddle: func(m meddler) {
				m.apply(l.say("b", "placed"))
				m.exec(`DELETE FROM orders WHERE id = 'b'`)
			},
			records: []*versioning.Record{l.say("b", "placed"), l.say("a", "captured")},
			want:    []string{"rejected entity_gone", "applied"}, rows: []string{"a paid 2"}, rest: []string{"dead"},
		},
		"the row of an entity whose history has no first version was deleted": {
			meddle: func(m meddler) {
				m.exec(`INSERT INTO orders (id, state, version) VALUES ('b', 'pending', 1)`)
				m.apply(l.say("b", "captured"))
				m.exec(`DELETE FROM orders WHERE id = 'b'`)
			},
			records: []*versioning.Record{l.say("b", "placed"), l.say("a", "captured")},
			want:    []string{"rejected entity_gone", "applied"}, rows: []string{"a paid 2"}, rest: []string{"dead"},
		},
		"the row is in a table that inherits": {
			meddle: func(m meddler) {
				m.exec(`CREATE TABLE archive () INHERITS (orders)`)
				m.exec(`INSERT INTO archive (id, state, version) VALUES ('b', 'pending', 1)`)
			},
			records: []*versioning.Record{l.say("b", "placed"), l.say("a", "captured")},
			want:    []string{"rejected illegal", "applied"}, rows: []string{"a paid 2", "b pending 1"}, rest: []string{"dead"},
		},
		"the row and its history were deleted, and another worker has created it": {
			remembered: of("m1", "a", "noted"),
			meddle: func(m meddler) {
				m.exec(`DELETE FROM orders`)
				m.exec(`DELETE FROM pawl.transitions`)
				m.apply(l.say("a", "placed"), of("m2", "a", "noted"))
			},
			records: []*versioning.Record{of("m2", "a", "noted")},
			want:    []string{"duplicate"}, rows: []string{"a pending 2"},
		},
		"somebody has written the row": {
			meddle:  func(m meddler) { m.exec(`UPDATE orders SET note = 'mine'`) },
			records: []*versioning.Record{l.say("a", "captured")},
			want:    []string{"applied"}, rows: []string{"a paid 2"},
		},
		"an earlier step was added to the history": {
			meddle: func(m meddler) {
				m.exec(`UPDATE orders SET version = 2`)
				for range 4 { // after the first, the store does not rely on what it remembers for a while
					apply(m.t, m.store, l.say("a", "noted"))
				}
				m.exec(`UPDATE orders SET version = version`) // as whoever changes a history must do
				m.exec(`
INSERT INTO pawl.transitions (machine, entity, version, event, from_state, to_state, message_id, topic, topic_id, partition, "offset", definition_version)
SELECT machine, entity, 2, 'noted', 'pending', 'pending', 'm', topic, topic_id, partition, 77, definition_version FROM pawl.transitions WHERE version = 1`)
			},
			records: []*versioning.Record{of("m", "a", "noted")},
			want:    []string{"duplicate"}, rows: []string{"a pending 6"},
		},
		"a trigger refuses rows that are there": {
			meddle: func(m meddler) {
				m.apply(of("m", "b", "placed"))
				m.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					IF EXISTS (SELECT FROM orders WHERE id = new.id) THEN RAISE EXCEPTION 'it is there'; END IF; RETURN new; END $$`)
				m.exec(`CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse()`)
			},
			records: []*versioning.Record{of("m", "b", "placed"), l.say("a", "captured")},
			want:    []string{"duplicate", "applied"}, rows: []string{"a paid 2", "b pending 1"},
		},
		"a trigger replaces rows that are there": {
			meddle: func(m meddler) {
				m.exec(`CREATE FUNCTION replace() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM orders WHERE id = new.id; RETURN new; END $$`)
				m.exec(`CREATE TRIGGER replace BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION replace()`)
				m.exec(`INSERT INTO orders (id, state, version) VALUES ('b', 'paid', 1)`)
				apply(m.t, m.store, l.say("a", "noted"), l.say("c", "placed"))
				apply(m.t, m.store, l.say("a", "noted")) // so that the row of a is known again
			},
			records: []*versioning.Record{l.say("a", "captured"), l.say("b", "placed")},
			want:    []string{"applied", "rejected illegal"}, rows: []string{"a paid 4", "b paid 1", "c pending 1"}, rest: []string{"dead"},
		},
		"another server": {
			remembered: of("lost", "a", "noted"),
			meddle:     meddler.failOver,
			records:    []*versioning.Record{of("made", "a", "noted")},
			want:       []string{"duplicate"}, rows: []string{"a pending 2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool, other := openOrders(t)
			store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
			apply(t, store, (&log{}).say("a", "placed"))
			if c.remembered != nil {
				apply(t, store, c.remembered)
			}
			if c.meddle != nil {
				c.meddle(meddler{t, pool, store, other})
			}
			wantVerdicts(t, apply(t, store, c.records...), c.want...)
			wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`, c.rows...)
			wantRows(t, pool, `SELECT 'parked' FROM pawl.parked UNION ALL SELECT 'dead' FROM pawl.dead_letters`, c.rest...)
		})
	}
}

// A trigger of one table may remove a row of another one, which was taken for absent.
func TestRecallBesideTriggers(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	mustExec(t, pool, `CREATE TABLE tickets (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL);
INSERT INTO tickets VALUES ('b', 'shipped', 1);
CREATE FUNCTION clear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM tickets WHERE id = 'b'; RETURN new; END $$;
CREATE TRIGGER clear BEFORE UPDATE ON orders FOR EACH ROW WHEN (new.state = 'paid') EXECUTE FUNCTION clear()`)
	definition := order.Definition()
	definition.Name = "ticket"
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders"}, postgres.Table{Machine: statemachine.MustCompile(definition), Name: "tickets"})
	var l log
	apply(t, store, l.say("a", "placed"))
	wantVerdicts(t, apply(t, store, l.say("a", "captured"), l.record(versioning.Change{Machine: "ticket", Key: "b", Event: "placed"})), "applied", "rejected illegal")
}
