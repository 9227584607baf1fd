package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

type note struct {
	N int64 `db:"n"`
}

// noting emits the number of each event to topic notes.
var noting = machineOf(func(f *statemachine.Firing, row *note, n int64) error {
	row.N = n
	if n < 0 {
		f.Emit("notes", n)
		return fmt.Errorf("%d is negative", n)
	}
	f.Emit("notes", n)
	return nil
})

// openNotes opens a store whose machine emits messages.
func openNotes(t *testing.T, table postgres.Table) (*pgxpool.Pool, *postgres.Store) {
	t.Helper()
	table.Machine = noting
	return openThings(t, `, n bigint NOT NULL`, table)
}

// allLanes asks for all packs of all lanes.
func allLanes() (want []versioning.Wanted) {
	for lane := range versioning.Lanes {
		want = append(want, versioning.Wanted{Lane: lane, Bytes: 1 << 30})
	}
	return want
}

func packsOf(t *testing.T, store *postgres.Store, want ...versioning.Wanted) []versioning.Pack {
	t.Helper()
	packs, err := store.Packs(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// valuesOf returns the keys and values of the packs' messages, by lane in order.
func valuesOf(packs []versioning.Pack) (all []string) {
	for _, p := range packs {
		for _, m := range p.Messages {
			all = append(all, string(m.Key)+"="+string(m.Value))
		}
	}
	return all
}

func refs(packs []versioning.Pack) (all []versioning.PackRef) {
	for _, p := range packs {
		all = append(all, p.PackRef)
	}
	return all
}

// TestOutbox checks what is written for what actions emit: once, with an ID, and nothing for
// duplicates, refused records and dry runs.
func TestOutbox(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{Source: "/test"})
	var l log
	first := l.did("a", "made", 1)
	first.Timestamp = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	records := []*versioning.Record{first, l.did("a", "did", 2), l.did("a", "did", -1), l.did("a", "did", 3)}
	wantVerdicts(t, apply(t, store, records...), "applied", "applied", "rejected refused", "applied")
	wantVerdicts(t, apply(t, store, records[0], records[1]), "duplicate", "duplicate")
	packs := packsOf(t, store, allLanes()...)
	if diff := cmp.Diff([]string{"a=1", "a=2", "a=3"}, valuesOf(packs)); diff != "" {
		t.Errorf("messages (-want, +got):\n%s", diff)
	}
	m := packs[0].Messages[0]
	want := versioning.Emitted{
		OutMessage: versioning.OutMessage{Topic: "notes", Key: []byte("a"), Value: []byte("1"), ContentType: "application/json"},
		Source:     "/test", Entity: versioning.Entity{Machine: "thing", Key: "a"}, Event: "made", Version: 1, Time: first.Timestamp,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("message (-want, +got):\n%s", diff)
	}
	if m.ID() != "thing/a/1/0" {
		t.Errorf("ID is %q", m.ID())
	}
	dead, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(dead) != 1 {
		t.Fatal(dead, err)
	}
	if _, err := store.DryRedrive(t.Context(), dead, func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "thing", Key: "a", Event: "did", Data: int64(5)}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, pool, `SELECT sum(n)::text FROM pawl.outbox`, "3")
	if err := store.DeletePacks(t.Context(), refs(packs), true); err != nil {
		t.Error(err)
	}
	if err := store.DeletePacks(t.Context(), refs(packs), false); err != nil { // they are gone
		t.Error(err)
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.outbox`, "0")
}

// TestDamagedRow checks that a row that can't be unpacked holds up only its lane.
func TestDamagedRow(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	var l log
	for _, key := range []string{"a", "b"} {
		for n := range 3 {
			apply(t, store, l.did(key, map[bool]statemachine.Event{true: "made", false: "did"}[n == 0], int64(n)))
		}
	}
	mustExec(t, pool, `UPDATE pawl.outbox SET messages = '\xff' WHERE id = 2`)
	packs, err := store.Packs(t.Context(), allLanes())
	if versioning.CauseOf(err) != versioning.Data || !strings.Contains(fmt.Sprint(err), "row 2:") {
		t.Errorf("Packs = %v", err)
	}
	got := valuesOf(packs)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"a=0", "b=0", "b=1", "b=2"}, got); diff != "" {
		t.Errorf("messages (-want, +got):\n%s", diff)
	}
}

// TestLeftovers checks that messages that are still in the outbox get a relay when their machine
// no longer writes to it, and only from a store that has the machine.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	mustExec(t, pool, `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	var l log
	apply(t, store, l.did("a", "made", 1))
	plain := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 2,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "open"}, {Event: "ended", From: statemachine.In("open"), To: "ended"},
		},
		Terminal: statemachine.In("ended"),
	})
	restricted, role := asRole(t, pool)
	for _, grant := range grantLine.FindAllString(security(t), -1) {
		if !strings.Contains(grant, "outbox") {
			mustExec(t, pool, replaceWorker(strings.ReplaceAll(grant, " ON orders", " ON thing"), role))
		}
	}
	wantEmits := func(when string, want bool, pool *pgxpool.Pool, table postgres.Table) {
		t.Helper()
		if got := open(t, pool, table).Emits(); got != want {
			t.Errorf("%s: Emits = %t", when, got)
		}
	}
	wantEmits("Debezium instead", true, pool, postgres.Table{Machine: noting, Name: "thing", Outbox: postgres.Debezium})
	wantEmits("no functions any more", true, pool, postgres.Table{Machine: plain, Name: "thing"})
	wantEmits("another machine", false, pool, postgres.Table{Machine: order, Name: "orders"})
	wantEmits("a role that may not read it", false, restricted, postgres.Table{Machine: plain, Name: "thing"})
	drain(t, store)
	wantEmits("an empty outbox", false, pool, postgres.Table{Machine: noting, Name: "thing", Outbox: postgres.Debezium})
}

// TestOutboxPaths checks that every way to make a step writes its messages: Do, a redrive, a
// release of a parked record, a sweep, and a batch written record by record.
func TestOutboxPaths(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	mustExec(t, pool, `ALTER TABLE thing ADD CONSTRAINT small CHECK (n < 100)`)
	var l log
	wantMessages := func(want ...string) {
		t.Helper()
		packs := packsOf(t, store, allLanes()...)
		if diff := cmp.Diff(want, valuesOf(packs)); diff != "" {
			t.Errorf("messages (-want, +got):\n%s", diff)
		}
		if err := store.DeletePacks(t.Context(), refs(packs), true); err != nil {
			t.Error(err)
		}
	}
	outcome, err := store.Do(t.Context(), versioning.Change{Machine: "thing", Key: "a", Event: "made", Data: int64(1)})
	if err != nil || outcome.Verdict != versioning.Applied {
		t.Fatal(outcome, err)
	}
	wantMessages("a=1")
	wantVerdicts(t, apply(t, store, l.did("b", "did", 2)), "early no_entity")
	wantMessages()
	wantVerdicts(t, apply(t, store, l.did("b", "made", 1)), "applied")
	wantMessages("b=1", "b=2")
	wantVerdicts(t, apply(t, store, l.did("b", "did", 3), l.did("b", "did", 101), l.did("b", "did", 4)), "applied", "rejected constraint", "applied")
	wantMessages("b=3", "b=4")
	mustExec(t, pool, `ALTER TABLE thing DROP CONSTRAINT small`)
	dead, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Redrive(t.Context(), dead, func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "thing", Key: "b", Event: "did", Data: int64(101)}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	wantMessages("b=101")
}

// TestOutboxOrder applies records of few entities from several goroutines, and reads and deletes
// packs meanwhile: each entity's messages come in order and once.
func TestOutboxOrder(t *testing.T) {
	t.Parallel()
	_, store := openNotes(t, postgres.Table{})
	const writers, each = 4, 60
	var group, reader sync.WaitGroup
	done := make(chan struct{})
	next := make(map[string]int64) // version by entity
	reader.Go(func() {
		for last := false; ; {
			packs := packsOf(t, store, allLanes()...)
			for _, p := range packs {
				for _, m := range p.Messages {
					if next[m.Entity.Key]++; m.Version != next[m.Entity.Key] {
						t.Errorf("entity %s: the message of version %d comes in the place of %d", m.Entity.Key, m.Version, next[m.Entity.Key])
					}
				}
			}
			if err := store.DeletePacks(t.Context(), refs(packs), false); err != nil {
				t.Error(err)
				return
			}
			if last && len(packs) == 0 {
				return
			}
			select {
			case <-done:
				last = true
			default:
			}
		}
	})
	const entities = 3
	var l log
	for key := range entities {
		apply(t, store, l.did(fmt.Sprint(key), "made", 0))
	}
	for w := range writers {
		group.Go(func() {
			for i := range each {
				for key := range entities {
					outcome, err := store.Do(t.Context(), versioning.Change{
						Machine: "thing", Key: fmt.Sprint(key), Event: "did", Data: int64(i), MessageID: fmt.Sprint(w, i),
					})
					if err != nil || outcome.Verdict != versioning.Applied {
						t.Error(outcome, err)
					}
				}
			}
		})
	}
	group.Wait()
	close(done)
	reader.Wait()
	for key, version := range next {
		if version != 1+writers*each {
			t.Errorf("entity %s: %d messages, not %d", key, version, 1+writers*each)
		}
	}
	if len(next) != entities {
		t.Errorf("%d entities, not %d", len(next), entities)
	}
}

// TestTruncateOutbox checks that empty partitions are truncated, and those with a row, or with
// one that is not committed, are not.
func TestTruncateOutbox(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	// In every partition but the first three there was a row.
	mustExec(t, pool, `INSERT INTO pawl.outbox (token, slot, lane, n, messages) SELECT 1, s, 0, 1, '' FROM generate_series(0, 7) AS s`)
	mustExec(t, pool, `DELETE FROM pawl.outbox WHERE slot > 0`)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `INSERT INTO pawl.outbox (token, slot, lane, n, messages) VALUES (2, 1, 0, 1, '')`); err != nil {
		t.Fatal(err)
	}
	reading, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Rollback(t.Context()) }()
	if _, err := reading.Exec(t.Context(), `LOCK TABLE pawl.outbox IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	if n, err := store.TruncateOutbox(t.Context()); n != 0 || err != nil {
		t.Errorf("TruncateOutbox = %d, %v while somebody reads", n, err)
	}
	if err := reading.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := store.TruncateOutbox(t.Context())
	if err != nil || n < 5 || n > 6 { // one may be the current one
		t.Errorf("TruncateOutbox = %d, %v; want 5 or 6", n, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRows(t, pool, `SELECT slot || ' ' || token FROM pawl.outbox ORDER BY 1`, "0 1", "1 2")
	testenv.Eventually(t, 30*time.Second, func() error {
		if _, err := store.TruncateOutbox(t.Context()); err != nil {
			return err
		}
		var size int64
		err := pool.QueryRow(t.Context(), `SELECT sum(pg_relation_size('pawl.outbox_' || s)) FROM generate_series(2, 7) AS s`).Scan(&size)
		if err == nil && size > 0 {
			err = fmt.Errorf("empty partitions have %d bytes", size)
		}
		return err
	})
	wantRows(t, pool, `SELECT slot || ' ' || token FROM pawl.outbox ORDER BY 1`, "0 1", "1 2")
}

// TestUnsent checks how messages become unsent ones and are sent again.
func TestUnsent(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	var l log
	apply(t, store, l.did("a", "made", 1), l.did("a", "did", 2), l.did("a", "did", 3))
	mustExec(t, pool, `UPDATE pawl.outbox SET at = at - interval '1 hour'`)
	pack := packsOf(t, store, allLanes()...)[0]
	refuse := func(p versioning.Pack, index int) versioning.Refused {
		return versioning.Refused{Emitted: p.Messages[index], Reason: "MESSAGE_TOO_LARGE", Detail: "it is \x00 too large"}
	}
	left, ok, err := store.RefuseMessages(t.Context(), pack.PackRef, []versioning.Refused{refuse(pack, 1)}, []versioning.Emitted{pack.Messages[0], pack.Messages[2]})
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	packs := packsOf(t, store, allLanes()...)
	if diff := cmp.Diff([]string{"a=1", "a=3"}, valuesOf(packs)); diff != "" || packs[0].ID != pack.ID {
		t.Errorf("the rest of the pack (-want, +got):\n%s", diff)
	}
	if diff := cmp.Diff(left.PackRef, packs[0].PackRef); diff != "" {
		t.Errorf("reference (-returned, +read):\n%s", diff)
	}
	if !packs[0].At.Equal(pack.At) || !left.At.Equal(pack.At) {
		t.Errorf("the rest is of %v, as returned %v; the pack is of %v", packs[0].At, left.At, pack.At)
	}
	// Another relay, which has lost the lane, comes too late.
	if _, ok, err := store.RefuseMessages(t.Context(), pack.PackRef, []versioning.Refused{refuse(pack, 0)}, nil); ok || err != nil {
		t.Errorf("a pack that is gone: %t, %v", ok, err)
	}
	unsent, err := store.Unsent(t.Context(), postgres.UnsentFilter{Topic: "notes", Reason: "MESSAGE_TOO_LARGE", Machine: "thing", Key: "a"})
	if err != nil || len(unsent) != 1 {
		t.Fatalf("%d unsent messages, %v", len(unsent), err)
	}
	if got := unsent[0]; got.Attempts != 1 || !cmp.Equal(got.OutMessage, pack.Messages[1].OutMessage) || got.Emitted.ID() != "thing/a/2/0" {
		t.Errorf("unsent message: %+v", got)
	}
	if n, err := store.Resend(t.Context(), unsent[0].ID, unsent[0].ID+1); n != 1 || err != nil {
		t.Errorf("Resend = %d, %v", n, err)
	}
	packs = packsOf(t, store, allLanes()...)
	if diff := cmp.Diff([]string{"a=1", "a=3", "a=2"}, valuesOf(packs)); diff != "" {
		t.Errorf("after Resend (-want, +got):\n%s", diff)
	}
	if _, ok, err := store.RefuseMessages(t.Context(), packs[1].PackRef, []versioning.Refused{refuse(packs[1], 0)}, nil); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if unsent, err = store.Unsent(t.Context(), postgres.UnsentFilter{}); err != nil || len(unsent) != 1 || unsent[0].Attempts != 2 {
		t.Errorf("refused again: %+v, %v", unsent, err)
	}
	depth, err := store.OutboxDepth(t.Context())
	if err != nil || depth.Packs != 1 || depth.Messages != 2 || depth.Unsent != 1 || depth.Age <= 0 || depth.Oldest.IsZero() {
		t.Errorf("depth: %+v, %v", depth, err)
	}
	mustExec(t, pool, `TRUNCATE pawl.outbox`)
	if depth, err = store.OutboxDepth(t.Context()); err != nil || depth != (versioning.OutboxDepth{Unsent: 1}) {
		t.Errorf("depth of an empty outbox: %+v, %v", depth, err)
	}
}

// TestDeleteWhileRefusing checks that a durable deletion leaves nothing of a pack that another
// relay is just splitting: that one has lost the lane, and has not committed yet. The rest
// would be published again.
func TestDeleteWhileRefusing(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(ctx context.Context, store *postgres.Store, p versioning.PackRef) error{
		"DeletePacks": func(ctx context.Context, store *postgres.Store, p versioning.PackRef) error {
			return store.DeletePacks(ctx, []versioning.PackRef{p}, true)
		},
		"DeleteTokens": func(ctx context.Context, store *postgres.Store, p versioning.PackRef) error {
			n, err := store.DeleteTokens(ctx, p.Lane, []int64{p.Token})
			if err == nil && n != 1 {
				err = fmt.Errorf("%d packs were deleted, not 1", n)
			}
			return err
		},
	} {
		for _, before := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s before=%t", name, before), func(t *testing.T) {
				t.Parallel()
				pool, store := openNotes(t, postgres.Table{})
				var l log
				apply(t, store, l.did("a", "made", 1), l.did("a", "did", 2), l.did("a", "did", 3))
				pack := packsOf(t, store, allLanes()...)[0]
				locked, err := pool.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := locked.Exec(t.Context(), `LOCK TABLE pawl.unsent IN SHARE MODE`); err != nil {
					t.Fatal(err)
				}
				refused, deleted := make(chan error, 1), make(chan error, 1)
				go func() {
					_, ok, err := store.RefuseMessages(t.Context(), pack.PackRef, []versioning.Refused{{Emitted: pack.Messages[1], Reason: "X"}}, pack.Messages[:1])
					if err == nil && !ok {
						err = errors.New("the pack does not exist")
					}
					refused <- err
				}()
				waitForLocks(t, pool, 1)
				if !before {
					go func() { deleted <- remove(t.Context(), store, pack.PackRef) }()
					waitForLocks(t, pool, 2)
				}
				if err := locked.Rollback(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := <-refused; err != nil {
					t.Fatal(err)
				}
				if before {
					deleted <- remove(t.Context(), store, pack.PackRef)
				}
				if err := <-deleted; err != nil {
					t.Fatal(err)
				}
				wantRows(t, pool, `SELECT count(*)::text FROM pawl.outbox`, "0")
			})
		}
	}
}
