package consumer_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// paintedDoor is the next version of door, with one more state.
var paintedDoor = statemachine.MustCompile(statemachine.Definition{
	Name: "door", Version: 2,
	Transitions: []statemachine.Transition{
		{Event: "built", To: "open"},
		{Event: "painted", From: statemachine.In("open"), To: "painted"},
		{Event: "walled up", From: statemachine.In("open", "painted"), To: "gone"},
	},
	Terminal: statemachine.In("gone"),
})

// TestRollingDeploy replaces a worker with one of a newer version of the machine, and goes back.
func TestRollingDeploy(t *testing.T) {
	ctx := t.Context()
	pool := testenv.Pool(t, doors)
	openDoors := func(m *statemachine.Machine) *postgres.Store {
		t.Helper()
		store, err := postgres.Open(ctx, pool, postgres.Table{Machine: m, Name: "doors"})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	topic := testenv.Topic(t, 1)
	client, err := kgo.NewClient(testenv.KafkaOpts(t)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	say := func(key, event string) {
		t.Helper()
		r := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, `{"key": %q, "event": %q}`, key, event)}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	run := func(store *postgres.Store) (stop func()) {
		t.Helper()
		return runWorker(t, consumer.Config{
			Client: testenv.KafkaOpts(t), Group: topic, Topics: []string{topic}, Store: store,
			Decode: consumer.DecodeMessage, SweepEvery: 50 * time.Millisecond,
		})
	}
	const (
		rows   = `SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM doors`
		dead   = `SELECT string_agg(concat_ws(' ', entity, event, reason, definition, attempts), ', ' ORDER BY entity) FROM pawl.dead_letters`
		parked = `SELECT string_agg(concat_ws(' ', entity, reason), ', ' ORDER BY seq) FROM pawl.parked`
	)

	// The old worker buries an event that no version knows yet, and keeps it once one does.
	stopOld := run(openDoors(door))
	say("a", "built")
	say("a", "painted")
	say("b", "nosuch")
	awaitText(t, pool, dead, "a painted unknown_event 1 1, b nosuch unknown_event 1 1")
	newer := openDoors(paintedDoor)
	say("c", "built")
	say("c", "painted")
	say("c", "walled up")
	awaitText(t, pool, parked, "c newer_definition, c newer_definition")
	stopOld()

	// The new worker judges all of that again, each once.
	stopNew := run(newer)
	awaitText(t, pool, rows, "a painted, c gone")
	awaitText(t, pool, dead, "b nosuch unknown_event 2 2")
	awaitText(t, pool, parked, "")
	say("d", "built") // sweeps go on meanwhile
	awaitText(t, pool, rows, "a painted, c gone, d open")
	stopNew()
	wantText(t, pool, dead, "b nosuch unknown_event 2 2")

	// The old worker comes back while the new version is registered.
	stopOld = run(openDoors(door))
	say("a", "walled up")
	say("d", "painted")
	say("d", "walled up")
	awaitText(t, pool, parked, "a unknown_state, d newer_definition, d newer_definition")
	if ok, err := newer.Withdraw(ctx, "door", 2); !ok || err != nil {
		t.Fatal(ok, err)
	}
	awaitText(t, pool, rows, "a painted, c gone, d gone")
	awaitText(t, pool, parked, "a unknown_state")
	awaitText(t, pool, dead, "b nosuch unknown_event 2 2, d painted unknown_event 1 1")
	stopOld()
	var stranded *postgres.StrandedError
	if _, err := postgres.Open(ctx, pool, postgres.Table{Machine: door, Name: "doors"}); !errors.As(err, &stranded) || stranded.States[0].State != "painted" {
		t.Errorf("Open: %v", err)
	}
}

func awaitText(t *testing.T, pool *pgxpool.Pool, query, want string) {
	t.Helper()
	testenv.Eventually(t, 30*time.Second, func() error {
		got, err := readText(t, pool, query)
		if err == nil && got != want {
			err = fmt.Errorf("%q, want %q: %s", got, want, query)
		}
		return err
	})
}

func wantText(t *testing.T, pool *pgxpool.Pool, query, want string) {
	t.Helper()
	if got, err := readText(t, pool, query); err != nil || got != want {
		t.Errorf("%q, %v, want %q: %s", got, err, want, query)
	}
}

// readText returns the text that a query selects, empty if it is NULL.
func readText(t *testing.T, pool *pgxpool.Pool, query string) (string, error) {
	t.Helper()
	rows, err := pool.Query(t.Context(), "SELECT coalesce(("+query+"), '')")
	if err != nil {
		return "", err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
}
