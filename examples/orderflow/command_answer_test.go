package main

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/versioning"
)

// TestUnclear charges a card although nobody answers. After the last attempt the payment is
// unclear, until a person says what the provider has done.
func TestUnclear(t *testing.T) {
	brokers, url := servers(t)
	command := func(args ...string) error {
		t.Helper()
		_, _, err := execute(t, append(args, "--brokers", brokers, "--database-url", url)...)
		return err
	}
	for _, args := range [][]string{{"migrate", "up"}, {"produce", "--orders=1"}} { // it also creates the topic
		if err := command(args...); err != nil {
			t.Fatal(err)
		}
	}
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	store, err := openStore(t.Context(), pool, defaultTerms)
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"o1", "o2"} {
		placed, err := changes(message{Event: OrderPlaced, Order: order, At: time.Now(), Customer: "c", Total: decimal.NewFromInt(7), Card: "1"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if o, err := store.Do(t.Context(), placed...); err != nil || o.Verdict != versioning.Applied {
			t.Fatal(o, err)
		}
	}
	t.Log("all attempts but one have failed")
	query(t, url, `UPDATE orderflow_river.river_job SET attempt = max_attempts - 2`)
	runWorkerUntil(t, brokers, url, `SELECT count(*) = 2 FROM orderflow.payments WHERE id IN ('o1', 'o2') AND state = 'unclear'`, "--provider=http://127.0.0.1:1")

	for _, wrong := range [][]string{{"o1", "captured"}, {"o1", "declined", "ch_1"}, {"o1", "perhaps"}, {"nobody", "declined"}} {
		if err := command(append([]string{"answer"}, wrong...)...); err == nil {
			t.Errorf("answer accepts %q", wrong)
		}
	}
	for _, answer := range []string{"o1 captured ch_1", "o2 declined"} {
		if err := command(append([]string{"answer"}, strings.Fields(answer)...)...); err != nil {
			t.Errorf("answer %s: %v", answer, err)
		}
	}
	var states string
	query(t, url, `SELECT string_agg(concat_ws(' ', id, o.state, p.state, nullif(o.charge, '')), ', ' ORDER BY id)
		FROM orderflow.orders o JOIN orderflow.payments p USING (id) WHERE id IN ('o1', 'o2')`, &states)
	if want := "o1 paid charged ch_1, o2 unpaid declined"; states != want {
		t.Errorf("the orders and payments are %q, want %q", states, want)
	}
}
