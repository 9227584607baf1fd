package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var errBug = errors.New("a bug")

// TestPanicInAction checks that a panic of an action rejects only its record, in a batch
// and when a parked record is released, and that the dead letter says where.
func TestPanicInAction(t *testing.T) {
	t.Parallel()
	faulty := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending"},
			{Event: "captured", From: statemachine.In("pending"), To: "paid", Do: statemachine.Do(func(f *statemachine.Firing, _ *struct{}, _ struct{}) error {
				if strings.HasPrefix(f.Key, "bad") {
					panic(errBug)
				}
				return nil
			})},
		},
		Terminal: statemachine.In("paid"),
	})
	pool := testenv.Pool(t, withOrders)
	store := open(t, pool, postgres.Table{Machine: faulty, Name: "orders"})
	var l log
	wantVerdicts(t, apply(t, store, l.say("bad parked", "captured")), "early no_entity")
	wantVerdicts(t, apply(t, store,
		l.say("bad", "placed"), l.say("good", "placed"), l.say("bad parked", "placed"), l.say("bad", "captured"), l.say("good", "captured")),
		"applied", "applied", "applied", "rejected refused", "applied")
	wantRows(t, pool, `SELECT id || ' ' || state FROM orders ORDER BY id`, "bad pending", "bad parked pending", "good paid")
	wantRows(t, pool, `SELECT entity FROM pawl.dead_letters WHERE detail LIKE '%a function of event captured panicked: a bug%' ORDER BY id`,
		"bad parked", "bad")
}

// TestPanicsOfOperators checks that a panic in a caller's function leaves the dead
// letters unchanged, and leaks no connection.
func TestPanicsOfOperators(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	wantVerdicts(t, apply(t, store, l.say("a", "nosuch")), "rejected unknown_event")
	for name, call := range map[string]func(){
		"CopyDeadLetters": func() {
			_, _ = store.CopyDeadLetters(t.Context(), map[string][]int32{"orders": {0}}, 10, func(context.Context, []versioning.DeadLetter) ([]int64, error) { panic(errBug) })
		},
	} {
		func() {
			defer func() {
				if p := recover(); p != errBug { //nolint:errorlint // the same value
					t.Errorf("%s: the caller recovers %v, want its own panic", name, p)
				}
			}()
			call()
		}()
	}
	wantRows(t, pool, `SELECT entity || attempts FROM pawl.dead_letters WHERE copied_at IS NULL`, "a1")
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still in use", n)
	}
}
