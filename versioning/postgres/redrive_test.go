package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// shop is a database with two machines, for tests of what is stored completely: parked
// records and dead letters.
var shopTemplate = testenv.Template("shop", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `
CREATE TABLE shop_orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, total integer CHECK (total > 0));
CREATE TABLE shop_payments (id bigint PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	return errors.Join(err, conn.Close(ctx))
})

var shopOrder = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "paid", From: statemachine.In("pending"), To: "paid"},
		{Event: "shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "cancelled", From: statemachine.In("pending", "paid"), To: "cancelled"},
	},
	Terminal: statemachine.In("shipped", "cancelled"),
})

var shopPayment = statemachine.MustCompile(statemachine.Definition{
	Name: "payment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "authorized", To: "authorized"},
		{Event: "captured", From: statemachine.In("authorized"), To: "captured"},
	},
	Terminal: statemachine.In("captured"),
})

type shop struct {
	*postgres.Store

	pool   *pgxpool.Pool
	offset int64
}

func newShop(t *testing.T, orders postgres.Table) *shop {
	t.Helper()
	pool := testenv.Pool(t, shopTemplate)
	orders.Machine, orders.Name = shopOrder, "shop_orders"
	store, err := postgres.Open(t.Context(), pool, orders, postgres.Table{Machine: shopPayment, Name: "shop_payments"})
	if err != nil {
		t.Fatal(err)
	}
	return &shop{Store: store, pool: pool}
}

// ask is a message of the shop: a list of changes, as JSON.
type ask struct {
	Machine string
	Key     string
	Event   statemachine.Event
	Total   any
}

func decodeAsk(r *versioning.Record) (changes []versioning.Change, err error) {
	var asks []ask
	if err := json.Unmarshal(r.Value, &asks); err != nil {
		return nil, err
	}
	for _, a := range asks {
		c := versioning.Change{Machine: a.Machine, Key: a.Key, Event: a.Event}
		if a.Total != nil {
			c.Set = versioning.Columns{"total": a.Total}
		}
		changes = append(changes, c)
	}
	return changes, nil
}

func (s *shop) record(t *testing.T, asks ...ask) *versioning.Record {
	t.Helper()
	value, err := json.Marshal(asks)
	if err != nil {
		t.Fatal(err)
	}
	return s.raw(string(value))
}

func (s *shop) raw(value string) *versioning.Record {
	s.offset++
	r := &versioning.Record{
		Origin: versioning.Origin{Topic: "shop", TopicID: [16]byte{1}, Offset: s.offset},
		Key:    []byte("k"), Value: []byte(value), Headers: []versioning.Header{{Key: "h", Value: []byte("v")}},
		Timestamp: time.UnixMilli(1_700_000_000_000),
	}
	r.Changes, r.Err = decodeAsk(r)
	s.Prepare(r)
	return r
}

func (s *shop) apply(t *testing.T, records ...*versioning.Record) (verdicts []string) {
	t.Helper()
	result, err := s.Apply(t.Context(), "", records)
	if err != nil {
		t.Fatal(err)
	}
	return told(result.Outcomes)
}

func told(outcomes []versioning.Outcome) (verdicts []string) {
	for _, o := range outcomes {
		s := o.Verdict.String()
		if o.Reason != "" {
			s += " " + string(o.Reason)
		}
		verdicts = append(verdicts, s)
	}
	return verdicts
}

func wantSame(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (s *shop) count(t *testing.T, query string) (n int) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPaymentMovesTwoTables checks that one record moves a payment and its order, or
// neither.
func TestPaymentMovesTwoTables(t *testing.T) {
	s := newShop(t, postgres.Table{})
	both := func() *versioning.Record {
		return s.record(t, ask{"payment", "7", "captured", nil}, ask{"order", "a", "paid", nil})
	}
	early := both()
	wantSame(t, "before either exists", []string{"early no_entity"}, s.apply(t, early))
	wantSame(t, "payment", []string{"applied"}, s.apply(t, s.record(t, ask{"payment", "7", "authorized", nil})))
	wantSame(t, "captured without its order", 0, s.count(t, `SELECT count(*) FROM shop_payments WHERE state = 'captured'`))
	wantSame(t, "order", []string{"applied"}, s.apply(t, s.record(t, ask{"order", "a", "placed", nil})))
	wantSame(t, "captured and paid, by the parked record", 1,
		s.count(t, `SELECT count(*) FROM shop_payments AS p, shop_orders AS o WHERE p.state = 'captured' AND o.state = 'paid'`))
	wantSame(t, "parked", 0, s.count(t, `SELECT count(*) FROM pawl.parked`))
	wantSame(t, "again", []string{"duplicate"}, s.apply(t, early))
	wantSame(t, "another capture", []string{"rejected illegal"}, s.apply(t, both()))
}

// TestLateCaptureIsNotADuplicate checks that a payment captured after its unpaid order
// was canceled is not lost, under any identity.
func TestLateCaptureIsNotADuplicate(t *testing.T) {
	_, err := postgres.Open(t.Context(), newShop(t, postgres.Table{}).pool,
		postgres.Table{Machine: shopOrder, Name: "shop_orders", Identity: versioning.ByState})
	identity, ok := errors.AsType[*statemachine.IdentityError](err)
	if !ok || identity.Event != "paid" || identity.State != "cancelled" || len(identity.Path) == 0 {
		t.Errorf("by state: Open returned %v; want an IdentityError that names paid, cancelled and a path", err)
	}
	for _, by := range []versioning.Identity{versioning.ByMessage, versioning.ByVersion} {
		t.Run(by.String(), func(t *testing.T) {
			s := newShop(t, postgres.Table{Identity: by})
			var records []*versioning.Record
			for i, event := range []statemachine.Event{"placed", "cancelled", "paid"} {
				r := s.record(t, ask{"order", "a", event, nil})
				r.Changes[0].Expected = versioning.At(int64(min(i, 1))) // the capture does not know about the cancellation
				records = append(records, r)
			}
			if by == versioning.ByMessage {
				for _, r := range records {
					r.Changes[0].Expected = versioning.Expected{}
				}
			}
			want := "rejected illegal"
			if by == versioning.ByVersion {
				want = "diverged version_taken"
			}
			for range 2 { // and again in a replay
				verdicts := s.apply(t, records...)
				wantSame(t, "late capture", want, verdicts[2])
			}
			wantSame(t, "dead letters", 1, s.count(t, `SELECT count(*) FROM pawl.dead_letters WHERE event = 'paid'`))
		})
	}
}

// TestTwoMessagesOfOneVersion checks that of two messages that say the same about the
// same version, the second is not a duplicate if both have IDs other than their
// origins. A copy of the first is a duplicate, with its ID or without any.
func TestTwoMessagesOfOneVersion(t *testing.T) {
	s := newShop(t, postgres.Table{})
	give := func(id string) string {
		r := s.record(t, ask{"order", "a", "paid", nil})
		r.Changes[0].Expected = versioning.At(1)
		if id != "" {
			r.Changes[0].MessageID = id
		}
		return s.apply(t, r)[0]
	}
	s.apply(t, s.record(t, ask{"order", "a", "placed", nil}))
	wantSame(t, "alice", "applied", give("alice"))
	for range 2 { // the second time from the history
		wantSame(t, "alice again", "duplicate", give("alice"))
		wantSame(t, "bob", "diverged version_taken", give("bob"))
		wantSame(t, "a copy without an ID", "duplicate", give(""))
	}
}

func TestRedrive(t *testing.T) {
	s := newShop(t, postgres.Table{})
	ctx := t.Context()
	verdicts := s.apply(t,
		s.record(t, ask{"order", "a", "placed", -5}), // CHECK
		s.raw(`{"broken`), // undecodable
		s.record(t, ask{"order", "a", "paid", nil}), // parked: its order was refused
		s.record(t, ask{"order", "b", "no such event", nil}))
	wantSame(t, "verdicts", []string{"rejected constraint", "rejected undecodable", "early no_entity", "rejected unknown_event"}, verdicts)

	letters, err := s.DeadLetters(ctx, postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(letters) != 3 {
		t.Fatalf("%d dead letters, want 3", len(letters))
	}
	wantSame(t, "key", []byte("k"), letters[0].Record.Key)
	wantSame(t, "headers", []versioning.Header{{Key: "h", Value: []byte("v")}}, letters[0].Record.Headers)
	wantSame(t, "timestamp", int64(1_700_000_000_000), letters[0].Record.Timestamp.UnixMilli())

	// Without success: each dead letter stays and counts one more attempt.
	again, err := s.Redrive(ctx, letters, decodeAsk)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "without success", []string{"rejected constraint", "rejected undecodable", "rejected unknown_event"}, told(again))
	wantSame(t, "attempts", 3, s.count(t, `SELECT count(*) FROM pawl.dead_letters WHERE attempts = 2`))

	// With a fixed decoder.
	fixed := func(r *versioning.Record) ([]versioning.Change, error) {
		if !json.Valid(r.Value) {
			return []versioning.Change{{Machine: "order", Key: "c", Event: "placed"}}, nil
		}
		changes, err := decodeAsk(r)
		for i := range changes {
			changes[i].Set = nil
			if changes[i].Event == "no such event" {
				changes[i].Event = "placed"
			}
		}
		return changes, err
	}
	dry, err := s.DryRedrive(ctx, letters, fixed)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "dry run", []string{"applied", "applied", "applied"}, told(dry))
	wantSame(t, "rows after the dry run", 0, s.count(t, `SELECT count(*) FROM shop_orders`))
	wet, err := s.Redrive(ctx, letters, fixed)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "redriven", told(dry), told(wet))
	wantSame(t, "rows", 3, s.count(t, `SELECT count(*) FROM shop_orders`))
	wantSame(t, "the parked payment went with its order", 1, s.count(t, `SELECT count(*) FROM shop_orders WHERE id = 'a' AND state = 'paid'`))
	wantSame(t, "dead letters", 0, s.count(t, `SELECT count(*) FROM pawl.dead_letters`))

	// The list is stale now. Nothing happens twice.
	twice, err := s.Redrive(ctx, letters, fixed)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "twice", []string{"ignored", "ignored", "ignored"}, told(twice))
	wantSame(t, "history", 4, s.count(t, `SELECT count(*) FROM pawl.transitions`))
}

// TestRedriveInTrouble checks that a dead letter that can't be decoded now stays as it is, and
// that those before it are settled.
func TestRedriveInTrouble(t *testing.T) {
	s := newShop(t, postgres.Table{})
	ctx := t.Context()
	s.apply(t, s.raw(`{"first`), s.raw(`{"second`), s.raw(`{"third`))
	letters, err := s.DeadLetters(ctx, postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	errDown := errors.New("down")
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		if string(r.Value) == `{"second` {
			return nil, versioning.Trouble(errDown)
		}
		return []versioning.Change{{Machine: "order", Key: string(r.Value), Event: "placed"}}, nil
	}
	dry, err := s.DryRedrive(ctx, letters, decode)
	if !errors.Is(err, errDown) || len(dry) != 0 {
		t.Errorf("DryRedrive = %v, %v", dry, err)
	}
	outcomes, err := s.Redrive(ctx, letters, decode)
	if !errors.Is(err, errDown) || versioning.CauseOf(err) != versioning.Infrastructure {
		t.Errorf("Redrive = %v", err)
	}
	wantSame(t, "outcomes", []string{"applied"}, told(outcomes))
	outcomes, err = s.Redrive(ctx, letters[1:], decode)
	if !errors.Is(err, errDown) || len(outcomes) != 0 {
		t.Errorf("Redrive = %v, %v", outcomes, err)
	}
	wantSame(t, "dead letters, not judged again", 2, s.count(t, `SELECT count(*) FROM pawl.dead_letters WHERE attempts = 1`))
}

// TestRedriveOfRedriven checks that a failed redrive does not bring back a dead letter
// that another redrive, with a better decoder, has settled meanwhile.
func TestRedriveOfRedriven(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	bad := (&log{}).record()
	bad.Err = errors.New("no JSON")
	apply(t, store, bad)
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	redrive := func(store *postgres.Store, changes []versioning.Change, err error, want string) {
		outcomes, failed := store.Redrive(t.Context(), letters, func(*versioning.Record) ([]versioning.Change, error) { return changes, err })
		if failed != nil {
			t.Fatal(failed)
		}
		wantSame(t, "redriven", []string{want}, told(outcomes))
	}
	tr.before(first(1, func() { redrive(store, []versioning.Change{{Key: "a", Event: "placed"}}, nil, "applied") }))
	redrive(hooked, nil, errors.New("still none"), "ignored")
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`)
	wantRows(t, pool, `SELECT id FROM orders`, "a")
}

// TestRedriveByID checks that a dead letter needs only its ID: Redrive reads it again if
// the store did not list it. A dead letter that no longer exists is Ignored, also if
// another record has its ID now.
func TestRedriveByID(t *testing.T) {
	t.Parallel()
	s := newShop(t, postgres.Table{})
	s.apply(t, s.record(t, ask{"order", "a", "placed", -5}), s.raw(`{"broken`), s.record(t, ask{"payment", "7", "placed", nil}))
	letters, err := s.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(letters) != 3 {
		t.Fatal(letters, err)
	}
	document, err := json.Marshal(letters)
	if err != nil {
		t.Fatal(err)
	}
	var rebuilt []versioning.DeadLetter
	if err := json.Unmarshal(document, &rebuilt); err != nil {
		t.Fatal(err)
	}
	other := &versioning.Record{Origin: versioning.Origin{Topic: "shop", Offset: 1}}
	given := []versioning.DeadLetter{rebuilt[2], {ID: rebuilt[1].ID, Record: other}, rebuilt[0], {ID: rebuilt[1].ID}, {ID: 1 << 40}, letters[2]}
	want := []string{"rejected unknown_event", "ignored", "rejected constraint", "rejected undecodable", "ignored", "rejected unknown_event"}
	for name, redrive := range map[string]func(context.Context, []versioning.DeadLetter, func(*versioning.Record) ([]versioning.Change, error)) ([]versioning.Outcome, error){
		"redriven": s.Redrive, "dry run": s.DryRedrive,
	} {
		outcomes, err := redrive(t.Context(), given, decodeAsk)
		if err != nil {
			t.Fatal(name, err)
		}
		wantSame(t, name, want, told(outcomes))
	}
	wantSame(t, "attempts", 3, s.count(t, `SELECT count(*) FROM pawl.dead_letters WHERE attempts = 2`))
	place := func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "order", Key: "b", Event: "placed"}}, nil
	}
	outcomes, err := s.Redrive(t.Context(), rebuilt[:1], place)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "redriven with success", []string{"applied"}, told(outcomes))
	wantSame(t, "dead letters", 2, s.count(t, `SELECT count(*) FROM pawl.dead_letters`))
}

func TestFilters(t *testing.T) {
	s := newShop(t, postgres.Table{})
	for i := range 5 {
		s.apply(t, s.record(t, ask{"order", fmt.Sprint("o", i), "nonsense", nil}), s.record(t, ask{"payment", fmt.Sprint(i), "captured", nil}))
	}
	s.apply(t, s.raw(`?`))
	first, err := s.DeadLetters(t.Context(), postgres.DeadLetterFilter{Limit: 1})
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	tests := []struct {
		name   string
		filter postgres.DeadLetterFilter
		dead   int
		parked int
	}{
		{"all", postgres.DeadLetterFilter{}, 6, 5},
		{"by reason", postgres.DeadLetterFilter{Reason: versioning.ReasonUndecodable}, 1, 0},
		{"by reason, parked", postgres.DeadLetterFilter{Reason: versioning.ReasonNoEntity}, 0, 5},
		{"by machine", postgres.DeadLetterFilter{Machine: "order"}, 5, 0},
		{"by machine, parked", postgres.DeadLetterFilter{Machine: "payment"}, 0, 5},
		{"by entity", postgres.DeadLetterFilter{Machine: "order", Key: "o3"}, 1, 0},
		{"by topic", postgres.DeadLetterFilter{Topic: "another"}, 0, 0},
		{"by time, past", postgres.DeadLetterFilter{To: time.Now().Add(-time.Hour)}, 0, 0},
		{"by time, now", postgres.DeadLetterFilter{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, 6, 5},
		{"limit", postgres.DeadLetterFilter{Limit: 2}, 2, 2},
		{"second page", postgres.DeadLetterFilter{After: first[0].ID, Limit: 10}, 5, 5},
		{"by ID", postgres.DeadLetterFilter{IDs: []int64{first[0].ID, -1}}, 1, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dead, err := s.DeadLetters(t.Context(), test.filter)
			if err != nil {
				t.Fatal(err)
			}
			f := test.filter
			parked, err := s.Parked(t.Context(), postgres.ParkedFilter{
				Reason: f.Reason, Machine: f.Machine, Key: f.Key, Topic: f.Topic, From: f.From, To: f.To, Limit: f.Limit,
			})
			if err != nil {
				t.Fatal(err)
			}
			wantSame(t, "dead letters, parked", []int{test.dead, test.parked}, []int{len(dead), len(parked)})
		})
	}
}

func TestSweep(t *testing.T) {
	s := newShop(t, postgres.Table{ParkFor: time.Hour, MaxParked: 2})
	ctx := t.Context()
	wantSame(t, "parked, and one too many", []string{"early no_entity", "early no_entity", "rejected too_many_parked"},
		s.apply(t, s.record(t, ask{"order", "a", "paid", nil}), s.record(t, ask{"order", "a", "shipped", nil}), s.record(t, ask{"order", "a", "cancelled", nil})))
	wantSame(t, "another", []string{"early no_entity"}, s.apply(t, s.record(t, ask{"order", "b", "paid", nil})))
	swept, err := s.Sweep(ctx, versioning.Reading{})
	if err != nil || len(swept.Released) != 0 || swept.Expired != 0 {
		t.Fatalf("a sweep with nothing to do: %+v, %v", swept, err)
	}

	// As if another worker had created the order while the records were being parked,
	// so that it did not see them.
	if _, err := s.pool.Exec(ctx, `INSERT INTO shop_orders VALUES ('a', 'pending', 1)`); err != nil {
		t.Fatal(err)
	}
	if swept, err = s.Sweep(ctx, versioning.Reading{}); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "released", 2, len(swept.Released))
	wantSame(t, "shipped", 1, s.count(t, `SELECT count(*) FROM shop_orders WHERE state = 'shipped' AND version = 3`))

	if _, err := s.pool.Exec(ctx, `UPDATE pawl.parked SET parked_at = now() - interval '61 minutes';
INSERT INTO pawl.caught_up (machine, topic_id, partition) VALUES ('order', gen_random_uuid(), 0)`); err != nil {
		t.Fatal(err)
	}
	if swept, err = s.Sweep(ctx, versioning.Reading{}); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "expired", 1, swept.Expired)
	letters, err := s.DeadLetters(ctx, postgres.DeadLetterFilter{Reason: versioning.ReasonParkedTooLong})
	if err != nil || len(letters) != 1 {
		t.Fatal(letters, err)
	}
	wantSame(t, "whose", versioning.Entity{Machine: "order", Key: "b"}, letters[0].Outcome.Entity)
	wantSame(t, "parked", 0, s.count(t, `SELECT count(*) FROM pawl.parked`))
}

// TestSweepOfRefused checks that a sweep rejects only the parked record that PostgreSQL
// refuses.
func TestSweepOfRefused(t *testing.T) {
	s := newShop(t, postgres.Table{})
	s.apply(t, s.record(t, ask{"order", "a", "paid", -1}), s.record(t, ask{"order", "a", "cancelled", nil}))
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO shop_orders VALUES ('a', 'pending', 1)`); err != nil {
		t.Fatal(err)
	}
	swept, err := s.Sweep(t.Context(), versioning.Reading{})
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []versioning.Outcome
	for _, r := range swept.Released {
		outcomes = append(outcomes, r.Outcome)
	}
	wantSame(t, "released", []string{"rejected constraint", "applied"}, told(outcomes))
	wantSame(t, "dead letters", 1, s.count(t, `SELECT count(*) FROM pawl.dead_letters`))
	wantSame(t, "cancelled", 1, s.count(t, `SELECT count(*) FROM shop_orders WHERE state = 'cancelled'`))
}

func TestCopyDeadLetters(t *testing.T) {
	s := newShop(t, postgres.Table{})
	for range 7 {
		s.apply(t, s.raw(`?`))
	}
	shop := map[string][]int32{"shop": {0, 1}}
	copied := map[int64]int{}
	broken := errors.New("broken pipe")
	fail := func(context.Context, []versioning.DeadLetter) ([]int64, error) { return nil, broken }
	if n, err := s.CopyDeadLetters(t.Context(), shop, 3, fail); !errors.Is(err, broken) || n != 0 {
		t.Fatalf("a failed copy: %d, %v", n, err)
	}
	for _, others := range []map[string][]int32{{"another": {0}}, {"shop": {1, 2}}, {"shop": nil}, nil} {
		if n, err := s.CopyDeadLetters(t.Context(), others, 10, fail); n != 0 || err != nil {
			t.Errorf("dead letters of %v: %d, %v", others, n, err)
		}
	}
	first := func(_ context.Context, letters []versioning.DeadLetter) ([]int64, error) {
		copied[letters[0].ID]++
		return []int64{letters[0].ID}, broken
	}
	if n, err := s.CopyDeadLetters(t.Context(), shop, 3, first); !errors.Is(err, broken) || n != 1 {
		t.Fatalf("a copy in which one dead letter failed: %d, %v", n, err)
	}
	for n := 1; n > 0; {
		var err error
		n, err = s.CopyDeadLetters(t.Context(), shop, 2, func(ctx context.Context, letters []versioning.DeadLetter) (ids []int64, err error) {
			if busy := s.pool.Stat().AcquiredConns(); busy != 0 {
				t.Errorf("%d connections are held while dead letters are copied", busy)
			}
			for _, l := range letters {
				copied[l.ID]++
				ids = append(ids, l.ID)
			}
			return ids, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wantSame(t, "letters copied", 7, len(copied))
	for id, n := range copied {
		wantSame(t, fmt.Sprint("copies of ", id), 1, n)
	}
}

// TestCopyThatTakesTooLong checks that copied dead letters are marked even after the
// deadline.
func TestCopyThatTakesTooLong(t *testing.T) {
	s := newShop(t, postgres.Table{})
	s.apply(t, s.raw(`?`))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, err := s.CopyDeadLetters(ctx, map[string][]int32{"shop": {0}}, 3, func(_ context.Context, letters []versioning.DeadLetter) ([]int64, error) {
		cancel()
		return []int64{letters[0].ID}, nil
	})
	if n != 1 || err != nil {
		t.Errorf("CopyDeadLetters = %d, %v", n, err)
	}
	wantSame(t, "not copied", 0, s.count(t, `SELECT count(*) FROM pawl.dead_letters WHERE copied_at IS NULL`))
}

// TestArchivedRows checks that a replay after rows were archived creates nothing.
func TestArchivedRows(t *testing.T) {
	s := newShop(t, postgres.Table{})
	records := []*versioning.Record{
		s.record(t, ask{"order", "a", "placed", nil}), s.record(t, ask{"order", "a", "cancelled", nil}),
		s.record(t, ask{"order", "b", "placed", nil}),
	}
	s.apply(t, records...)
	if _, err := s.pool.Exec(t.Context(), `DELETE FROM shop_orders`); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "replayed", []string{"duplicate", "duplicate", "duplicate"}, s.apply(t, records...))
	wantSame(t, "raised from the dead", []string{"rejected entity_gone", "rejected entity_gone"},
		s.apply(t, s.record(t, ask{"order", "a", "placed", nil}), s.record(t, ask{"order", "b", "paid", nil})))
	wantSame(t, "rows", 0, s.count(t, `SELECT count(*) FROM shop_orders`))
}

// TestTwoWorkersOfOneTopic checks that workers that consume a topic for different
// machines of one database do not mistake each other's dead letters and parked records
// for their own, and that a worker for all of these machines does not mix them up.
func TestTwoWorkersOfOneTopic(t *testing.T) {
	s := newShop(t, postgres.Table{})
	open := func(machine *statemachine.Machine, table string) *postgres.Store {
		store, err := postgres.Open(t.Context(), s.pool, postgres.Table{Machine: machine, Name: table})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	orders, payments := open(shopOrder, "shop_orders"), open(shopPayment, "shop_payments")
	give := func(store *postgres.Store, offset int64, change versioning.Change) string {
		r := &versioning.Record{Origin: versioning.Origin{Topic: "both", Offset: offset}, Changes: []versioning.Change{change}}
		store.Prepare(r)
		result, err := store.Apply(t.Context(), "", []*versioning.Record{r})
		if err != nil {
			t.Fatal(err)
		}
		return told(result.Outcomes)[0]
	}
	for range 2 { // and redelivered
		wantSame(t, "order of 1", "rejected unknown_event", give(orders, 1, versioning.Change{Key: "1", Event: "authorized"}))
		wantSame(t, "order of 2", "early no_entity", give(orders, 2, versioning.Change{Key: "1", Event: "paid"}))
	}
	wantSame(t, "payment of 1", "applied", give(payments, 1, versioning.Change{Key: "1", Event: "authorized"}))
	wantSame(t, "payment of 2", "early no_entity", give(payments, 2, versioning.Change{Key: "2", Event: "captured"}))
	wantSame(t, "payment of 3", "applied", give(payments, 3, versioning.Change{Key: "2", Event: "authorized"}))
	wantSame(t, "captured", 1, s.count(t, `SELECT count(*) FROM shop_payments WHERE state = 'captured'`))
	wantSame(t, "order of 4", "applied", give(orders, 4, versioning.Change{Key: "1", Event: "placed"}))
	wantSame(t, "paid", 1, s.count(t, `SELECT count(*) FROM shop_orders WHERE state = 'paid'`))
	both, err := postgres.Open(t.Context(), s.pool,
		postgres.Table{Machine: shopOrder, Name: "shop_orders"}, postgres.Table{Machine: shopPayment, Name: "shop_payments"})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "payment of 1, by a worker for both", "duplicate", give(both, 1, versioning.Change{Machine: shopPayment.Name(), Key: "1", Event: "authorized"}))
	wantSame(t, "payment of 4, by a worker for both", "applied", give(both, 4, versioning.Change{Machine: shopPayment.Name(), Key: "4", Event: "authorized"}))
	wantSame(t, "order of 1, by a worker for both", "rejected unknown_event", give(both, 1, versioning.Change{Machine: shopOrder.Name(), Key: "1", Event: "authorized"}))
	wantSame(t, "dead letters", 1, s.count(t, `SELECT count(*) FROM pawl.dead_letters`))
	wantSame(t, "parked", 0, s.count(t, `SELECT count(*) FROM pawl.parked`))
}

// TestDryRedriveOfDeferred checks that a dry run checks deferred constraints at the end
// of a record, as COMMIT does.
func TestDryRedriveOfDeferred(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `
CREATE TABLE customer (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL);
CREATE TABLE purchase (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, customer text REFERENCES customer DEFERRABLE INITIALLY DEFERRED)`)
	store := open(t, pool, postgres.Table{Machine: thingMachine("purchase"), Name: "purchase"},
		postgres.Table{Machine: thingMachine("customer"), Name: "customer"})
	var l log
	r := l.record()
	r.Err = errors.New("garbage")
	apply(t, store, r)
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	decode := func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{
			{Machine: "purchase", Key: "b", Event: "made", Set: versioning.Columns{"customer": "a"}},
			{Machine: "customer", Key: "a", Event: "made"},
		}, nil
	}
	dry, err := store.DryRedrive(t.Context(), letters, decode)
	if err != nil {
		t.Fatal(err)
	}
	wet, err := store.Redrive(t.Context(), letters, decode)
	if got := fmt.Sprint(verdicts(dry), verdicts(wet), err); got != "[applied] [applied] <nil>" {
		t.Errorf("dry run, then redrive: %s (%s)", got, dry[0].Detail)
	}
}
