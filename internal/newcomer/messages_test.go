// Package newcomer tests the messages that new users of Pawl get when they make a
// mistake.
package newcomer

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// mistakes lists the mistakes, each with a function that makes it and returns the
// messages. Each message must say what failed, where, and what to do.
var mistakes = []struct {
	name string
	make func(*testing.T) []string
}{
	{"the migrations did not run", noMigrations},
	{"the table's name is wrong", wrongTable},
	{"the table is not in the search_path", notInSearchPath},
	{"the columns have wrong types", wrongTypes},
	{"the primary key has two columns", compositeKey},
	{"Decode is nil", nilDecode},
	{"PostgreSQL is down when the worker starts", noPostgres},
	{"the broker is down when the worker starts", noBroker},
	{"the topic is misspelt", misspeltTopic},
	{"the event is misspelt", misspeltEvent},
	{"Decode panics", panicInDecode},
	{"rows have a state that the machine does not know when the worker starts", strandedRow},
	{"a row has a state that the machine does not know", unknownState},
	{"an old worker meets a state of a new machine", oldWorker},
	{"no change sets a column that is NOT NULL without a default", unsetColumn},
	{"one topic has two machines, and a change names none", noMachine},
	{"the key is a text, and its column a bigint", wrongKeyType},
}

// TestMessages compares the messages with testdata/messages.golden. With -update it
// writes the file. Then read the file as a new user would.
func TestMessages(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	for _, m := range mistakes {
		fmt.Fprintf(&got, "=== %s\n\n%s\n\n", m.name, normal(strings.Join(m.make(t), "\n")))
	}
	path := filepath.Join("testdata", "messages.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-golden +got); -update rewrites it:\n%s", path, diff)
	}
}

// changing lists the parts of messages that differ from run to run.
var changing = []struct {
	is  *regexp.Regexp
	say string
}{
	{regexp.MustCompile(`pawl_testmessages_[a-z0-9_]+`), "DATABASE"},
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`user=\S+`), "user=USER"},
	{regexp.MustCompile(`retry_in=\S+`), "retry_in=WAIT"},
	{regexp.MustCompile(`since=\S+`), "since=TIME"},
}

func normal(text string) string {
	for _, c := range changing {
		text = c.is.ReplaceAllString(text, c.say)
	}
	return text
}

var order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "order.placed", To: "pending"},
		{Event: "order.paid", From: statemachine.In("pending"), To: "paid"},
	},
	Terminal: statemachine.In("paid"),
})

var refund = statemachine.MustCompile(statemachine.Definition{
	Name: "refund", Version: 1,
	Transitions: []statemachine.Transition{{Event: "refund.made", To: "made"}},
	Terminal:    statemachine.In("made"),
})

var (
	migrated = testenv.Template("pawl", migrate.Up)
	orders   = postgres.Table{Machine: order, Name: "orders"}
)

const createOrders = `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL);`

// refusedBy runs statements and returns the error of Open.
func refusedBy(t *testing.T, table postgres.Table, sql string, opts ...testenv.Option) []string {
	t.Helper()
	pool := testenv.Pool(t, opts...)
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	_, err := postgres.Open(t.Context(), pool, table)
	return message(t, err)
}

func message(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		t.Error("no error")
		err = errors.New("")
	}
	return []string{err.Error()}
}

func noMigrations(t *testing.T) []string { return refusedBy(t, orders, createOrders) }

func wrongTable(t *testing.T) []string {
	return refusedBy(t, postgres.Table{Machine: order, Name: "order"}, createOrders, migrated)
}

// notInSearchPath must not use the name of a likely role, such as shop, for the schema:
// the default search_path would find it.
func notInSearchPath(t *testing.T) []string {
	return refusedBy(t, orders, `CREATE SCHEMA sales; SET search_path = sales; `+createOrders+` RESET search_path`, migrated)
}

func wrongTypes(t *testing.T) []string {
	return refusedBy(t, orders, `CREATE TABLE orders (id numeric PRIMARY KEY, state int NOT NULL, version text)`, migrated)
}

func compositeKey(t *testing.T) []string {
	return refusedBy(t, orders, `CREATE TABLE orders (shop text, id text, state text NOT NULL, version bigint NOT NULL, PRIMARY KEY (shop, id))`, migrated)
}

func nilDecode(t *testing.T) []string {
	_, err := consumer.New(consumer.Config{Group: "orders", Topics: []string{"orders"}, Store: memory(), SweepEvery: -1})
	return message(t, err)
}

func noPostgres(t *testing.T) []string {
	pool := lazyPool(t, "postgres://shop@"+testenv.FreeAddress(t)+"/shop?sslmode=disable")
	_, err := postgres.Open(t.Context(), pool, orders)
	return message(t, err)
}

func noBroker(t *testing.T) []string {
	w := start(t, worker{brokers: []string{testenv.FreeAddress(t)}, topic: "orders", store: memory()})
	return []string{w.await("no broker answers")}
}

func misspeltTopic(t *testing.T) []string {
	w := start(t, worker{brokers: brokers(t, "orders"), topic: "order", store: memory()})
	return []string{w.await("does not exist")}
}

func misspeltEvent(t *testing.T) []string {
	return deadLetter(t, createOrders, change("order-1", "order.payed"), orders)
}

func panicInDecode(t *testing.T) []string {
	return deadLetter(t, createOrders, func(r *versioning.Record) ([]versioning.Change, error) {
		key := strings.Split(string(r.Key), "/")[1]
		return []versioning.Change{{Key: key, Event: "order.placed"}}, nil
	}, orders)
}

func strandedRow(t *testing.T) []string {
	return refusedBy(t, orders, createOrders+`INSERT INTO orders VALUES ('order-1', 'Pending', 1)`, migrated)
}

func unknownState(t *testing.T) []string {
	return parked(t, `INSERT INTO orders VALUES ('order-1', 'Pending', 1)`, change("order-1", "order.paid"))
}

func oldWorker(t *testing.T) []string {
	return parked(t, `INSERT INTO orders VALUES ('order-1', 'packed', 3);
INSERT INTO pawl.transitions (entity, machine, version, event, from_state, to_state, definition_version, message_id, topic, topic_id, partition, "offset")
VALUES ('order-1', 'order', 3, 'order.packed', 'paid', 'packed', 2, 'm', 'orders', gen_random_uuid(), 0, 0)`,
		change("order-1", "order.paid"))
}

func unsetColumn(t *testing.T) []string {
	return deadLetter(t, createOrders+`ALTER TABLE orders ADD COLUMN customer text NOT NULL`, change("order-1", "order.placed"), orders)
}

func noMachine(t *testing.T) []string {
	return deadLetter(t, createOrders+`CREATE TABLE refunds (LIKE orders INCLUDING ALL)`, change("order-1", "order.placed"),
		orders, postgres.Table{Machine: refund, Name: "refunds"})
}

func wrongKeyType(t *testing.T) []string {
	return deadLetter(t, `CREATE TABLE orders (id bigint PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`,
		change("order-1", "order.placed"), orders)
}

// change returns a DecodeFunc that asks for one change.
func change(key string, event statemachine.Event) consumer.DecodeFunc {
	return func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: key, Event: event}}, nil
	}
}
