package banklog_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/banklog"
	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }

var cases = testenv.Template("banklog", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE cases (id bigint PRIMARY KEY, state text NOT NULL, version integer NOT NULL)`)
	return errors.Join(err, conn.Close(ctx))
})

const partitions = 6

// TestBank sends the log of a real bank's loan applications through a worker,
// with faults that happen in practice, and checks that every case ends where
// the log says. Then it replays everything in a new group with the KIP-848
// protocol and checks that nothing changes.
//
// It uses the first 300 cases, or PAWL_BANKLOG_CASES of them. The log has 13,087 cases
// with 262,200 events, which take minutes with fsync.
func TestBank(t *testing.T) {
	log := readBank(t)
	machine, err := log.Machine()
	if err != nil {
		t.Fatal(err)
	}
	first := log.Cases[0].Events[0]
	tests := []struct {
		name     string
		identity versioning.Identity
		faults   banklog.Faults
	}{
		{"by message, redelivered", versioning.ByMessage, banklog.Faults{Redelivered: 0.05}},
		{
			"by message, redelivered, with bad records", versioning.ByMessage,
			banklog.Faults{Redelivered: 0.05, Extra: 0.005, First: first},
		},
		{
			"by version, redelivered, out of order, with bad records", versioning.ByVersion,
			banklog.Faults{Redelivered: 0.05, Moved: 0.05, MovedBy: 20, Extra: 0.005, First: first},
		},
		{
			"by message, redelivered, out of order, with bad records", versioning.ByMessage,
			banklog.Faults{Redelivered: 0.05, Moved: 0.05, MovedBy: 20, Extra: 0.005, First: first},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBank(t, machine, test.identity)
			lanes := log.Traffic(1, partitions, test.faults)
			b.produce(t, lanes)
			took := b.consume(t, "first", consumer.Classic)
			t.Logf("%d records of %d cases in %v: %.0f records/s", b.produced, len(log.Cases), took.Round(time.Millisecond),
				float64(b.produced)/took.Seconds())
			if test.identity == versioning.ByMessage && test.faults.Moved > 0 {
				b.checkModel(t, machine, lanes)
			} else {
				b.checkCases(t, log)
				b.checkKept(t)
			}
			before := b.physical(t)
			took = b.consume(t, "replay", consumer.Consumer)
			t.Logf("replayed in %v: %.0f records/s", took.Round(time.Millisecond), float64(b.produced)/took.Seconds())
			if after := b.physical(t); after != before {
				t.Errorf("the replay changed the tables: digest was %s, is %s", before, after)
			}
		})
	}
}

func readBank(t *testing.T) *banklog.Log {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", "bpic2012.csv.gz")
	log, err := banklog.Read("bank", path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("this test needs the bank's event log, and there is none at %s", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := 300
	if s := os.Getenv("PAWL_BANKLOG_CASES"); s != "" {
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("PAWL_BANKLOG_CASES: %v", err)
		}
	}
	return log.Head(n)
}

// A bank is one topic and one database.
type bank struct {
	pool     *pgxpool.Pool
	store    *postgres.Store
	topic    string
	identity versioning.Identity
	produced int
	extra    int
}

func newBank(t *testing.T, machine *statemachine.Machine, identity versioning.Identity) *bank {
	t.Helper()
	pool := testenv.Pool(t, cases)
	store, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: machine, Name: "cases", Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	return &bank{pool: pool, store: store, identity: identity, topic: testenv.Topic(t, partitions)}
}

type wire struct {
	Event   statemachine.Event `json:"event"`
	Version int64              `json:"version"`
}

func (b *bank) produce(t *testing.T, lanes [][]banklog.Message) {
	t.Helper()
	client, err := kgo.NewClient(append(testenv.KafkaOpts(t), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for p, lane := range lanes {
		for _, m := range lane {
			client.Produce(t.Context(), b.record(t, int32(p), m), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
			b.produced++
			if m.Extra {
				b.extra++
			}
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (b *bank) record(t *testing.T, partition int32, m banklog.Message) *kgo.Record {
	t.Helper()
	value, err := json.Marshal(wire{m.Event, m.Version})
	if err != nil {
		t.Fatal(err)
	}
	if m.Event == "" {
		value = value[:len(value)-1]
	}
	return &kgo.Record{
		Topic: b.topic, Partition: partition, Key: []byte(m.Case), Value: value,
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(m.ID)}},
	}
}

// consume runs a worker in a new group until the whole topic is committed.
func (b *bank) consume(t *testing.T, group string, protocol consumer.Protocol) time.Duration {
	t.Helper()
	group += "-" + b.topic
	worker, err := consumer.New(consumer.Config{
		Client: testenv.KafkaOpts(t), Group: group, Protocol: protocol, Topics: []string{b.topic}, Store: b.store,
		Decode: consumer.JSON(func(w wire, r *versioning.Record) ([]versioning.Change, error) {
			change := versioning.Change{Key: string(r.Key), Event: w.Event}
			if b.identity == versioning.ByVersion {
				change.Expected = versioning.At(w.Version)
			}
			return []versioning.Change{change}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	testenv.Eventually(t, 5*time.Minute, func() error { return b.committed(t, group) })
	took := time.Since(start)
	stop()
	if err := <-done; err != nil {
		t.Fatalf("worker: %v", err)
	}
	return took
}

func (b *bank) committed(t *testing.T, group string) error {
	client, err := kgo.NewClient(testenv.KafkaOpts(t)...)
	if err != nil {
		return err
	}
	defer client.Close()
	committed, err := kadm.NewClient(client).FetchOffsets(t.Context(), group)
	if err != nil {
		return err
	}
	var sum int64
	committed.Each(func(o kadm.OffsetResponse) { sum += o.At })
	if sum != int64(b.produced) {
		return errors.New("committed " + strconv.FormatInt(sum, 10) + " of " + strconv.Itoa(b.produced))
	}
	return nil
}

type row struct {
	State   string
	Version int64
}

// checkCases checks that every case is where the log says, after as many steps.
func (b *bank) checkCases(t *testing.T, log *banklog.Log) {
	t.Helper()
	want := make(map[string]row, len(log.Cases))
	for _, c := range log.Cases {
		want[c.ID] = row{banklog.End, int64(len(c.Events) + 1)}
	}
	b.checkRows(t, want)
}

// checkModel checks out-of-order traffic whose messages carry no versions. Here
// a case need not end where the log says, because an event is applied as soon
// as the machine allows it. Instead the model says for every message whether it
// moved its case, was parked or became a dead letter.
func (b *bank) checkModel(t *testing.T, machine *statemachine.Machine, lanes [][]banklog.Message) {
	t.Helper()
	world := model.New(model.Definition{Definition: machine.Definition()}, versioning.ByMessage)
	world.MaxParked = 100 // the default of postgres.Table
	undecodable := 0
	for p, lane := range lanes {
		for offset, m := range lane {
			if m.Event == "" {
				undecodable++
				continue
			}
			world.Deliver(model.Message{
				Origin: versioning.Origin{Partition: int32(p), Offset: int64(offset)}, ID: m.ID,
				Parts: []model.Part{{Key: m.Case, Event: m.Event, Expected: -1}},
			})
		}
	}
	want := make(map[string]row, len(world.History))
	for id, steps := range world.History {
		want[id] = row{string(world.State(id)), int64(len(steps))}
	}
	b.checkRows(t, want)
	b.checkCount(t, `SELECT count(*) FROM pawl.dead_letters`, len(world.Dead)+undecodable)
	b.checkCount(t, `SELECT count(*) FROM pawl.parked`, len(world.Parked))
	t.Logf("%d parked, %d dead letters, as the model says", len(world.Parked), len(world.Dead)+undecodable)
}

func (b *bank) checkCount(t *testing.T, query string, want int) {
	t.Helper()
	var got int
	if err := b.pool.QueryRow(t.Context(), query).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s: %d, want %d", query, got, want)
	}
}

// checkRows compares the cases and their history with want.
func (b *bank) checkRows(t *testing.T, want map[string]row) {
	t.Helper()
	for what, query := range map[string]string{
		"cases":   `SELECT id::text, state, version FROM cases`,
		"history": `SELECT entity, (array_agg(to_state ORDER BY version DESC))[1], count(*) FROM pawl.transitions GROUP BY entity`,
	} {
		rows, err := b.pool.Query(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]row, len(want))
		var id string
		var r row
		if _, err := pgx.ForEachRow(rows, []any{&id, &r.State, &r.Version}, func() error { got[id] = r; return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-log +database):\n%s", what, diff)
		}
	}
}

// checkKept checks that every record that is not from the log is a dead letter,
// and that no record is parked.
func (b *bank) checkKept(t *testing.T) {
	t.Helper()
	var dead, extra, parked int
	err := b.pool.QueryRow(t.Context(), `
SELECT (SELECT count(*) FROM pawl.dead_letters),
       (SELECT count(*) FROM pawl.dead_letters WHERE convert_from(decode(headers->0->>'value_base64', 'base64'), 'UTF8') LIKE '%-extra'),
       (SELECT count(*) FROM pawl.parked)`).Scan(&dead, &extra, &parked)
	if err != nil {
		t.Fatal(err)
	}
	if dead != b.extra || extra != b.extra || parked != 0 {
		t.Errorf("%d dead letters (%d of them extra records), %d parked; want %d dead letters, all extra records, and none parked", dead, extra, parked, b.extra)
	}
}

// physical returns a digest of where every row is stored and which transaction
// wrote it. If two digests are equal, nothing was written in between.
func (b *bank) physical(t *testing.T) (digest string) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), `
SELECT concat_ws(' ',
	(SELECT md5(string_agg(ctid::text || xmin::text, ',' ORDER BY ctid)) FROM cases),
	(SELECT md5(string_agg(ctid::text || xmin::text, ',' ORDER BY ctid)) FROM pawl.transitions),
	(SELECT md5(string_agg(ctid::text || xmin::text, ',' ORDER BY ctid)) FROM pawl.dead_letters),
	(SELECT count(*) FROM pawl.parked))`).Scan(&digest)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}
