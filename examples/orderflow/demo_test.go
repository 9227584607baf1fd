package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/examples/orderflow/internal/demo"
	"github.com/pawl-go/pawl/examples/orderflow/internal/provider"
	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
)

// TestDemo runs the demo as a new user does, with nothing set up.
func TestDemo(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "")
	t.Setenv("DATABASE_URL", "")
	stdout, stderr, err := execute(t, "--orders=300", "--seed=7", "--session-timeout=1s", "--json")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
	}
	check(t, parse(t, stdout), 300)
	if stdout, _, err = execute(t, "demo", "--orders=50", "--session-timeout=500ms"); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	for _, part := range []string{"kill -9", "records lost", "accounted for", "only the provider's answer counts", "a lost answer", "has expired"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("the report does not contain %q:\n%s", part, stdout)
		}
	}
}

// TestDemoOnServers runs the demo twice on a user's servers. It must leave them
// unchanged.
func TestDemoOnServers(t *testing.T) {
	brokers, url := servers(t)
	const mine = `INSERT INTO orderflow.orders (id, state, version, customer, total, charge, placed_at) VALUES ('mine', 'paid', 1, 'me', 1, 'ch_1', now())`
	if _, _, err := execute(t, "migrate", "up", "--database-url", url); err != nil {
		t.Fatal(err)
	}
	query(t, url, mine)
	for range 2 {
		stdout, stderr, err := execute(t, "demo", "--orders=100", "--session-timeout=500ms", "--json",
			"--brokers", brokers, "--database-url", url)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
		}
		check(t, parse(t, stdout), 100)
	}
	if rows := count(t, url, `orderflow.orders`); rows != 1 {
		t.Errorf("%d orders are left, want the 1 from before", rows)
	}
	for _, table := range []string{
		"pawl.transitions", "pawl.parked", "pawl.dead_letters", "pawl.timers", "pawl.outbox",
		"orderflow.payments", "orderflow.shipments", "orderflow_river.river_job",
	} {
		if rows := count(t, url, table); rows != 0 {
			t.Errorf("the demo left %d rows in %s", rows, table)
		}
	}
	if topics := topics(t, brokers); len(topics) != 0 {
		t.Errorf("the demo left topics %v", topics)
	}
	if _, _, err := execute(t, "migrate", "down", "--database-url", url); err != nil {
		t.Fatal(err)
	}
}

// TestWorker runs a worker as a user does, and stops it.
func TestWorker(t *testing.T) {
	brokers, url := servers(t)
	if _, _, err := execute(t, "migrate", "up", "--database-url", url); err != nil {
		t.Fatal(err)
	}
	if _, _, err := execute(t, "produce", "--orders=50", "--brokers", brokers); err != nil {
		t.Fatal(err)
	}
	// Most of the 50; faults stop some from being placed.
	runWorkerUntil(t, brokers, url, `SELECT count(*) >= 40 FROM orderflow.orders`)
}

// TestWorkers runs all that a shop needs, as a user does: both workers and the provider. An
// order is paid, shipped and announced.
func TestWorkers(t *testing.T) {
	brokers, url := servers(t)
	if _, _, err := execute(t, "migrate", "up", "--database-url", url); err != nil {
		t.Fatal(err)
	}
	if _, _, err := execute(t, "produce", "--orders=20", "--brokers", brokers); err != nil {
		t.Fatal(err)
	}
	address := testenv.FreeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	for _, args := range [][]string{
		{"provider", "--listen", address, "--faults=false"},
		{"carrier", "--brokers", brokers, "--database-url", url},
	} {
		running.Go(func() {
			if _, _, err := executeUntil(ctx, args...); err != nil {
				t.Errorf("%v: %v", args, err)
			}
		})
	}
	runWorkerUntil(t, brokers, url, `SELECT EXISTS (SELECT FROM orderflow.shipments WHERE state = 'arrived')
		AND EXISTS (SELECT FROM orderflow.payments WHERE state = 'refunded')
		AND EXISTS (SELECT FROM orderflow.orders WHERE state = 'expired')`,
		"--provider=http://"+address, "--pay-within=100ms")
	stop()
	running.Wait()
}

// TestProduceAndTopic checks that the demo rejects an existing topic, because
// it does not know what to expect of the records in it.
func TestProduceAndTopic(t *testing.T) {
	brokers, url := servers(t)
	stdout, _, err := execute(t, "produce", "--orders=10", "--topic=taken", "--brokers", brokers)
	if err != nil || !strings.Contains(stdout, "10 orders") {
		t.Fatalf("produce: %v, %q", err, stdout)
	}
	_, _, err = execute(t, "demo", "--topic=taken", "--brokers", brokers, "--database-url", url)
	if err == nil || !strings.Contains(err.Error(), `"taken"`) {
		t.Errorf("demo on an existing topic: %v, want an error that names the topic", err)
	}
}

func check(t *testing.T, r demo.Report, orders int) {
	t.Helper()
	if !r.OK || r.Lost != 0 || r.AppliedTwice != 0 || r.MovedByReplay != 0 || r.Mismatches != 0 || r.Orders != orders {
		t.Errorf("the accounts do not match: %+v", r)
	}
	if all := r.Applied + r.Duplicate + r.Parked + r.DeadLettered + r.Lost; all != r.Produced {
		t.Errorf("the report counts %d records, but %d were produced", all, r.Produced)
	}
	if min(r.Applied, r.Duplicate, r.Parked, r.DeadLettered) == 0 {
		t.Errorf("some kind of fate does not occur: %+v", r)
	}
	if min(r.Expired, r.Money.Captured, r.Money.Declined, r.Money.Refunded, r.Shipments.Announced) == 0 {
		t.Errorf("some kind of output does not occur: %+v", r)
	}
	for _, f := range provider.Faults {
		if r.Answers[f.Name] == 0 {
			t.Errorf("fault %q of the provider does not occur: %v", f.Name, r.Answers)
		}
	}
	if r.Verdicts.Replay["applied"] != 0 {
		t.Errorf("the replay applied records: %v", r.Verdicts.Replay)
	}
	if r.KilledWorker.PID == 0 || len(r.KilledWorker.Partitions) == 0 {
		t.Errorf("the demo killed no worker: %+v", r.KilledWorker)
	}
}

// parse parses the last line of standard output.
func parse(t *testing.T, stdout string) (r demo.Report) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatalf("the last line is not JSON: %v\n%s", err, stdout)
	}
	return r
}

// servers starts a broker and creates a database, as a user would have them.
func servers(t *testing.T) (brokers, url string) {
	t.Helper()
	kafka, err := embedded.StartKafka(embedded.KafkaConfig{
		Options: []kfake.Opt{kfake.GroupMinSessionTimeout(100 * time.Millisecond)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Close() })
	return strings.Join(kafka.Brokers(), ","), testenv.Postgres(t)
}

func query(t *testing.T, url, sql string, into ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if len(into) == 0 {
		_, err = conn.Exec(t.Context(), sql)
	} else {
		err = conn.QueryRow(t.Context(), sql).Scan(into...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, url, table string) (rows int) {
	t.Helper()
	query(t, url, "SELECT count(*) FROM "+table, &rows)
	return rows
}

func topics(t *testing.T, brokers string) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	listed, err := kadm.NewClient(client).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return listed.Names()
}
