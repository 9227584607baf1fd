package postgres_test

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

const keyWithoutHashes = `ALTER TABLE pawl.transitions DROP CONSTRAINT transitions_pkey, ADD CONSTRAINT transitions_pkey PRIMARY KEY (entity, machine, version)`

// A message that has moved an entity is found, whatever the history has of its hash.
func TestHashes(t *testing.T) {
	t.Parallel()
	hash := fnv.New32a()
	_, _ = hash.Write([]byte("few2")) // the new message, of which a step of another one has the hash
	for name, c := range map[string]struct {
		before, after string // what is done to the history before and after it is written
		trips         int    // of a new message
		many          string // the entity with many steps at the end, if not many22
	}{
		"hashes":             {trips: 2},
		"none":               {after: `UPDATE pawl.transitions SET message_hash = NULL`, trips: 2},
		"some":               {after: `UPDATE pawl.transitions SET message_hash = NULL WHERE version = 2`, trips: 2},
		"of another message": {after: fmt.Sprintf(`UPDATE pawl.transitions SET message_hash = %d WHERE entity = 'few' AND version = 1`, int32(hash.Sum32())), trips: 2},
		"versions below 1": {after: `
WITH o AS (UPDATE orders SET version = version - 30 WHERE id = 'many')
UPDATE pawl.transitions SET version = version - 30 WHERE entity = 'many'`, trips: 2, many: "many-8"},
		"the key has none":                      {before: keyWithoutHashes, trips: 2},
		"the key has had none when it was used": {before: keyWithoutHashes, after: `ALTER TABLE pawl.transitions DROP CONSTRAINT transitions_pkey, ADD CONSTRAINT transitions_pkey PRIMARY KEY (entity, machine, version) INCLUDE (message_hash)`, trips: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, withOrders)
			var l log
			step := func(key string, i int) *versioning.Record {
				r := l.say(key, "noted")
				r.Changes[0].MessageID = fmt.Sprint(key, i)
				return r
			}
			if c.before != "" {
				mustExec(t, pool, c.before)
			}
			other := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
			records := []*versioning.Record{l.say("few", "placed"), l.say("many", "placed"), step("few", 1)}
			for i := range 20 {
				records = append(records, step("many", i))
			}
			apply(t, other, records...)
			if c.after != "" {
				mustExec(t, pool, c.after)
			}
			for _, again := range [][]*versioning.Record{
				{step("few", 1)},
				{step("many", 2)},
				{step("many", 18)},
				{step("few", 1), step("many", 2), step("many", 18), step("many", 2)},
			} {
				store, _ := traced(t, pool)
				wantVerdicts(t, apply(t, store, again...), repeat("duplicate", len(again))...)
				wantVerdicts(t, apply(t, store, again...), repeat("duplicate", len(again))...)
			}
			store, tr := traced(t, pool)
			_, trips := tr.counted(func() { wantVerdicts(t, apply(t, store, step("few", 2)), "applied") })
			if trips != c.trips {
				t.Errorf("a new message takes %d round trips, want %d", trips, c.trips)
			}
			_, trips = tr.counted(func() { wantVerdicts(t, apply(t, store, step("few", 2), step("many", 20)), "duplicate", "applied") })
			if trips > 3 { // the entity with many steps may need another
				t.Errorf("an old and a new message take %d round trips", trips)
			}
			wantRows(t, pool, `SELECT id || version FROM orders ORDER BY id`, "few3", cmp.Or(c.many, "many22"))
		})
	}
}

// A parked record has made a step already, without being unparked. The batch that would release it
// does not ask for its message when it reads hashes.
func TestHashesOfParked(t *testing.T) {
	t.Parallel()
	hash := fnv.New32a()
	_, _ = hash.Write([]byte("m"))
	for name, version := range map[string]int{"among the first steps": 1, "later": 21} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, other := openOrders(t)
			var l log
			apply(t, other, l.say("a", "placed"))
			waiting := l.say("a", "shipped")
			waiting.Changes[0].MessageID = "m"
			wantVerdicts(t, apply(t, other, waiting), "early not_yet")
			mustExec(t, pool, fmt.Sprintf(`UPDATE orders SET version = %d`, version))
			mustExec(t, pool, fmt.Sprintf(`UPDATE pawl.transitions SET version = %d, message_id = 'm', event = 'shipped', message_hash = %d, digest = NULL`, version, int32(hash.Sum32())))
			store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
			result := apply(t, store, l.say("a", "captured"))
			wantVerdicts(t, result, "applied")
			if len(result.Released) != 1 || result.Released[0].Outcome.Verdict != versioning.Duplicate {
				t.Errorf("released %+v, want a duplicate", result.Released)
			}
			wantRows(t, pool, `SELECT state FROM orders`, "paid")
		})
	}
}

// In a replay, most batches read messages without looking at their hashes.
func TestHashesInReplay(t *testing.T) {
	t.Parallel()
	pool, other := openOrders(t)
	var l log
	var created, records, more []*versioning.Record
	for i := range 20 {
		created, records, more = append(created, l.say(key(i), "placed")), append(records, l.say(key(i), "captured")), append(more, l.say(key(i), "shipped"))
	}
	apply(t, other, slices.Concat(created, records)...)
	store, tr := traced(t, pool)
	for range 40 {
		_, trips := tr.counted(func() { wantVerdicts(t, apply(t, store, records...), repeat("duplicate", len(records))...) })
		if trips != 2 {
			t.Fatalf("a replayed batch takes %d round trips, want 2", trips)
		}
	}
	for i, atOnce := range tr.atOnce {
		if want := i%16 != 0; atOnce != want {
			t.Errorf("batch %d: messages are read at once: %v, want %v", i, atOnce, want)
		}
	}
	if len(tr.atOnce) != 40 {
		t.Errorf("%d statements have read hashes, want 40", len(tr.atOnce))
	}
	wantVerdicts(t, apply(t, store, more...), repeat("applied", len(more))...)
	wantVerdicts(t, apply(t, store, slices.Concat(records, more)...), repeat("duplicate", len(records)+len(more))...)
}

// Rows without a history need no messages, so a batch of them is no replay.
func TestHashesOfRowsWithoutHistory(t *testing.T) {
	t.Parallel()
	pool, other := openOrders(t)
	mustExec(t, pool, `INSERT INTO orders (id, state, version) SELECT 'row' || n, 'pending', 1 FROM generate_series(1, 40) AS n`)
	var l log
	var created, records []*versioning.Record
	for i := range 20 {
		created = append(created, l.say(key(i), "placed"))
		records = append(records, l.say(key(i), "noted"), l.say(fmt.Sprint("row", 2*i+1), "noted"), l.say(fmt.Sprint("row", 2*i+2), "noted"))
	}
	apply(t, other, created...)
	store, tr := traced(t, pool)
	wantVerdicts(t, apply(t, store, records[:30]...), repeat("applied", 30)...)
	wantVerdicts(t, apply(t, store, records[30:]...), repeat("applied", 30)...)
	wantSame(t, "whether messages were read at once", []any{false, false}, tr.atOnce)
}

// What a store remembers of a row includes the messages whose hashes it has read.
func TestHashesAreRemembered(t *testing.T) {
	t.Parallel()
	pool, other := openOrders(t)
	var l log
	first := l.say("a", "noted")
	apply(t, other, l.say("a", "placed"), first)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	wantVerdicts(t, apply(t, store, l.say("a", "noted")), "applied")
	wantVerdicts(t, apply(t, store, first), "duplicate")
	wantRows(t, pool, `SELECT version::text FROM orders`, "3")
}

// The hash of a former ID is looked for too.
func TestHashOfFormerID(t *testing.T) {
	t.Parallel()
	pool, other := openOrders(t)
	var l log
	first, again := l.say("a", "noted"), l.say("a", "noted")
	first.Changes[0].MessageID = "m1"
	again.Changes[0].MessageID, again.Changes[0].FormerID = "source m1", "m1"
	apply(t, other, l.say("a", "placed"), first)
	wantVerdicts(t, apply(t, open(t, pool, postgres.Table{Machine: order, Name: "orders"}), again), "duplicate")
	wantRows(t, pool, `SELECT version::text FROM orders`, "2")
}

// The schema of a server may be older than the one with which a store was opened: a backup was
// restored.
func TestHashesOfOlderSchema(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	records := []*versioning.Record{l.say("a", "placed"), l.say("b", "placed")}
	apply(t, store, records...)
	downTo(t, pool, 8)
	more := l.say("a", "captured")
	wantVerdicts(t, apply(t, store, append(records, more)...), "duplicate", "duplicate", "applied")
	wantVerdicts(t, apply(t, store, l.say("c", "placed"), more), "applied", "duplicate")
}

// Whoever changes a message ID need not know of hashes.
func TestHashOfChangedMessage(t *testing.T) {
	t.Parallel()
	pool, other := openOrders(t)
	var l log
	apply(t, other, l.say("a", "placed"), l.say("a", "noted"))
	mustExec(t, pool, `UPDATE pawl.transitions SET message_id = 'm' WHERE version = 2`)
	wantRows(t, pool, `SELECT version::text FROM pawl.transitions WHERE message_hash IS NULL`, "2")
	again := l.say("a", "noted")
	again.Changes[0].MessageID = "m"
	wantVerdicts(t, apply(t, open(t, pool, postgres.Table{Machine: order, Name: "orders"}), again), "duplicate")
}

// Hashes are read from the primary key alone, once VACUUM has seen the history.
func TestHashesAreInTheKey(t *testing.T) {
	t.Parallel()
	pool, other := openOrders(t)
	var l log
	var records, more []*versioning.Record
	for i := range 50 {
		records, more = append(records, l.say(key(i), "placed")), append(more, l.say(key(i), "captured"))
	}
	apply(t, other, records...)
	mustExec(t, pool, `VACUUM pawl.transitions`)
	const fetched = `SELECT coalesce(sum(idx_tup_fetch), 0) FROM pg_stat_user_tables WHERE relname = 'transitions'`
	const scans = `SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'transitions_pkey'`
	var before, after int
	used, err := pgxpool.NewWithConfig(t.Context(), pool.Config())
	if err != nil {
		t.Fatal(err)
	}
	store := open(t, used, postgres.Table{Machine: order, Name: "orders"})
	if err := pool.QueryRow(t.Context(), fetched).Scan(&before); err != nil {
		t.Fatal(err)
	}
	wantVerdicts(t, apply(t, store, more...), repeat("applied", len(more))...)
	used.Close() // connections report their statistics when they close
	testenv.Eventually(t, 10*time.Second, func() error {
		var n int
		if err := pool.QueryRow(t.Context(), scans).Scan(&n); err != nil {
			return err
		}
		if n < len(more) {
			return fmt.Errorf("the statistics have %d scans so far", n)
		}
		return pool.QueryRow(t.Context(), fetched).Scan(&after)
	})
	if after > before {
		t.Errorf("%d steps were read for new messages", after-before)
	}
}

// A history that has steps gets hashes as docs/upgrading.md says, while workers run.
func TestHashesAfterUpgrade(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	downTo(t, pool, 8)
	running := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	var l log
	made := []*versioning.Record{l.say("a", "placed"), l.say("b", "placed")}
	apply(t, running, made...)
	again := func(store *postgres.Store, event statemachine.Event) {
		t.Helper()
		wantVerdicts(t, apply(t, store, made...), repeat("duplicate", len(made))...)
		made = append(made, l.say("a", event), l.say("b", event))
		wantVerdicts(t, apply(t, store, made...), append(repeat("duplicate", len(made)-2), "applied", "applied")...)
	}
	if err := migrate.Up(t.Context(), pool.Config().ConnString()); err != nil {
		t.Fatal(err)
	}
	again(running, "noted")
	again(open(t, pool, postgres.Table{Machine: order, Name: "orders"}), "noted")
	mustExec(t, pool, `CREATE UNIQUE INDEX CONCURRENTLY transitions_hashed ON pawl.transitions (entity, machine, version) INCLUDE (message_hash)`)
	mustExec(t, pool, `ALTER TABLE pawl.transitions DROP CONSTRAINT transitions_pkey, ADD CONSTRAINT transitions_pkey PRIMARY KEY USING INDEX transitions_hashed`)
	again(running, "captured")
	wantRows(t, pool, `SELECT count(message_hash)::text FROM pawl.transitions`, "0")
	again(open(t, pool, postgres.Table{Machine: order, Name: "orders"}), "shipped")
	wantRows(t, pool, `SELECT event FROM pawl.transitions WHERE message_hash IS NOT NULL`, "shipped", "shipped")
	again(running, "delivered")
	wantRows(t, pool, `SELECT conname FROM pg_constraint WHERE conrelid = 'pawl.transitions'::regclass AND contype = 'p'`, "transitions_pkey")
}
