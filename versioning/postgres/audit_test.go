package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var act = postgres.Act{As: "ada@host", Verb: "test", Arguments: "--x 1"}

func TestOperatorDrops(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "placed"), l.say("a", "nosuch"), l.say("b", "nosuch"), l.say("c", "nosuch"), l.say("d", "captured"), l.say("e", "captured"), l.say("a", "delivered"))
	o := openOperator(t, pool, "")
	letters, err := o.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(letters) != 3 {
		t.Fatalf("DeadLetters = %+v, %v", letters, err)
	}
	parked, err := o.Parked(t.Context(), postgres.ParkedQuery{})
	if err != nil || len(parked) != 3 {
		t.Fatalf("Parked = %+v, %v", parked, err)
	}
	page, err := o.Parked(t.Context(), postgres.ParkedQuery{AfterTime: parked[0].ParkedAt, AfterID: parked[0].ID})
	if err != nil || len(page) != 2 || page[0].ID != parked[1].ID {
		t.Errorf("the second page of Parked = %+v, %v", page, err)
	}
	if _, err := o.DropDeadLetters(t.Context(), postgres.Act{}, postgres.DeadLetterFilter{}); !errors.Is(err, postgres.ErrAudit) {
		t.Errorf("without a person: %v", err)
	}
	for _, c := range []struct {
		filter postgres.DeadLetterFilter
		want   int64
	}{
		{postgres.DeadLetterFilter{IDs: []int64{letters[1].ID, 99}}, 1},
		{postgres.DeadLetterFilter{Key: "nosuch"}, 0},
		{postgres.DeadLetterFilter{Limit: 1}, 1},
		{postgres.DeadLetterFilter{}, 1},
	} {
		if n, err := o.DropDeadLetters(t.Context(), act, c.filter); err != nil || n != c.want {
			t.Errorf("DropDeadLetters(%+v) = %d, %v; want %d", c.filter, n, err, c.want)
		}
	}
	if n, err := o.DropParked(t.Context(), act, postgres.ParkedQuery{Reason: "no_entity"}); err != nil || n != 2 {
		t.Errorf("DropParked = %d, %v", n, err)
	}
	wantRows(t, pool, `SELECT entity FROM pawl.parked UNION ALL SELECT entity FROM pawl.dead_letters`, "a")
	audit, err := o.Audit(t.Context(), postgres.AuditFilter{})
	if err != nil || len(audit) != 4 {
		t.Fatalf("Audit = %+v, %v", audit, err)
	}
	first := audit[3]
	if diff := cmp.Diff(postgres.AuditEntry{Act: act, ID: first.ID, At: first.At, By: first.By, Rows: 1, IDs: []int64{letters[1].ID}}, first); diff != "" || first.By == "" || time.Since(first.At) > time.Hour {
		t.Errorf("the first entry (-want, +got):\n%s", diff)
	}
	if audit[0].Rows != 2 || len(audit[0].IDs) != 2 {
		t.Errorf("the entry of the parked records: %+v", audit[0])
	}
	older, err := o.Audit(t.Context(), postgres.AuditFilter{Before: audit[2].ID, Limit: 5})
	if err != nil || len(older) != 1 || older[0].ID != first.ID {
		t.Errorf("the second page of Audit = %+v, %v", older, err)
	}
}

// TestDropsInParts checks that many rows are dropped in several transactions, each with its entry.
func TestDropsInParts(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	mustExec(t, pool, manyDeadLetters, 2500)
	n, err := openOperator(t, pool, "").DropDeadLetters(t.Context(), act, postgres.DeadLetterFilter{Limit: 2200})
	if err != nil || n != 2200 {
		t.Errorf("DropDeadLetters = %d, %v", n, err)
	}
	wantRows(t, pool, `SELECT rows || ' ' || cardinality(ids) FROM pawl.audit ORDER BY id`, "1000 1000", "1000 1000", "200 200")
}

// TestDropLeavesWhatArrives checks that a drop without an end does not drop what arrives meanwhile.
func TestDropLeavesWhatArrives(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "nosuch"), l.say("b", "nosuch"), l.say("c", "captured"), l.say("d", "captured"))
	mustExec(t, pool, `UPDATE pawl.dead_letters SET died_at = now() + interval '1 h' WHERE entity = 'b'`)
	mustExec(t, pool, `UPDATE pawl.parked SET parked_at = now() + interval '1 h' WHERE entity = 'd'`)
	o := openOperator(t, pool, "")
	if n, err := o.DropDeadLetters(t.Context(), act, postgres.DeadLetterFilter{}); err != nil || n != 1 {
		t.Errorf("DropDeadLetters = %d, %v", n, err)
	}
	if n, err := o.DropParked(t.Context(), act, postgres.ParkedQuery{}); err != nil || n != 1 {
		t.Errorf("DropParked = %d, %v", n, err)
	}
	wantRows(t, pool, `SELECT entity FROM pawl.dead_letters UNION ALL SELECT entity FROM pawl.parked ORDER BY 1`, "b", "d")
}

// TestRedriveAs checks that a redrive is recorded in the transaction that settles the dead letters.
func TestRedriveAs(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "nosuch"), l.say("b", "nosuch"), l.say("c", "nosuch"))
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(letters) != 3 {
		t.Fatalf("DeadLetters = %+v, %v", letters, err)
	}
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		if r.Origin == letters[1].Record.Origin {
			return nil, errors.New("still broken")
		}
		return []versioning.Change{{Machine: "order", Key: fmt.Sprint(r.Origin.Offset), Event: "placed"}}, nil
	}
	outcomes, err := store.RedriveAs(t.Context(), act, letters, decode)
	if err != nil || len(outcomes) != 3 || outcomes[0].Verdict != versioning.Applied || outcomes[1].Verdict != versioning.Rejected {
		t.Errorf("RedriveAs = %+v, %v", outcomes, err)
	}
	want := fmt.Sprintf("ada@host test --x 1 3 {%d,%d,%d}", letters[0].ID, letters[1].ID, letters[2].ID)
	const read = `SELECT actor || ' ' || verb || ' ' || arguments || ' ' || rows || ' ' || ids::text FROM pawl.audit ORDER BY id`
	wantRows(t, pool, read, want)
	if _, err := store.RedriveAs(t.Context(), act, letters[:1], decode); err != nil { // it is gone
		t.Error(err)
	}
	wantRows(t, pool, read, want)

	// Without a way to record it, nothing is done.
	restricted, role := asRole(t, pool)
	for _, grant := range grantLine.FindAllString(security(t), -1) {
		mustExec(t, pool, replaceWorker(grant, role))
	}
	worker := open(t, restricted, postgres.Table{Machine: order, Name: "orders"})
	if _, err := worker.RedriveAs(t.Context(), act, letters[1:2], decode); !errors.Is(err, postgres.ErrAudit) || !strings.Contains(err.Error(), "lacks INSERT") {
		t.Errorf("RedriveAs without the right: %v", err)
	}
	if _, err := store.RedriveAs(t.Context(), postgres.Act{}, nil, decode); !errors.Is(err, postgres.ErrAudit) {
		t.Errorf("without a person: %v", err)
	}
	wantRows(t, pool, `SELECT attempts::text FROM pawl.dead_letters`, "2")
	for _, grant := range grantsTo(t, "operator", role) {
		if strings.Contains(grant, "pawl.audit") {
			mustExec(t, pool, grant)
		}
	}
	if _, err := worker.RedriveAs(t.Context(), act, letters[1:2], decode); err != nil {
		t.Errorf("RedriveAs with the rights of the page: %v", err)
	}
	wantRows(t, pool, `SELECT attempts::text FROM pawl.dead_letters`, "3")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.audit`, "2")
}

// TestRedriveAsRollsBack checks that an entry disappears with what it records.
func TestRedriveAsRollsBack(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "nosuch"))
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, pool, `CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION SQLSTATE '57P03'; END $$`)
	mustExec(t, pool, `CREATE CONSTRAINT TRIGGER stop AFTER INSERT ON pawl.audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stop()`)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := store.RedriveAs(ctx, act, letters, func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "order", Key: "a", Event: "placed"}}, nil
	}); err == nil {
		t.Error("there is no error")
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.audit UNION ALL SELECT count(*)::text FROM orders`, "0", "0")
	wantRows(t, pool, `SELECT attempts::text FROM pawl.dead_letters`, "1")
}

// TestDropRollsBack checks that nothing is dropped if that can't be recorded.
func TestDropRollsBack(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "nosuch"), l.say("b", "captured"))
	mustExec(t, pool, `ALTER TABLE pawl.audit ADD CHECK (verb <> 'test')`)
	o := openOperator(t, pool, "")
	if n, err := o.DropDeadLetters(t.Context(), act, postgres.DeadLetterFilter{}); err == nil || n != 0 {
		t.Errorf("DropDeadLetters = %d, %v", n, err)
	}
	if n, err := o.DropParked(t.Context(), act, postgres.ParkedQuery{}); err == nil || n != 0 {
		t.Errorf("DropParked = %d, %v", n, err)
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.parked UNION ALL SELECT count(*)::text FROM pawl.dead_letters`, "1", "1")
}

// TestDropParkedUnderWorker drops parked records while a worker applies them. Each is either dropped
// or applied, and the audit says which.
func TestDropParkedUnderWorker(t *testing.T) {
	t.Parallel()
	const entities = 200
	pool, store := openOrders(t)
	var l log
	var early, creating []*versioning.Record
	for i := range entities {
		early = append(early, l.say(fmt.Sprint(i), "captured"))
	}
	apply(t, store, early...)
	for i := range entities {
		creating = append(creating, l.say(fmt.Sprint(entities-1-i), "placed"))
	}
	o := openOperator(t, pool, "")
	drop := func() error {
		_, err := o.DropParked(t.Context(), act, postgres.ParkedQuery{Limit: 5})
		return err
	}
	if err := drop(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		var err error
		for range entities / 10 { // at most half of them
			err = errors.Join(err, drop())
		}
		done <- err
	}()
	for some := range slices.Chunk(creating, 10) {
		apply(t, store, some...)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.parked UNION ALL SELECT count(*)::text FROM orders`, "0", fmt.Sprint(entities))
	wantRows(t, pool, `SELECT (paid.n + dropped.n) || ' ' || (paid.n > 0 AND dropped.n > 0)
FROM (SELECT count(*) AS n FROM orders WHERE state = 'paid') AS paid, (SELECT coalesce(sum(rows), 0) AS n FROM pawl.audit) AS dropped`,
		fmt.Sprintf("%d true", entities))
}
