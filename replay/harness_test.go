package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/banklog"
	"github.com/pawl-go/pawl/internal/kgorecord"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// childEnv says that this process is a replay of a test.
const childEnv = "PAWL_TEST_REPLAY"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(runChild(text))
	}
	testenv.Main(m, testenv.CheckLeaks())
}

var withCases = testenv.Template("replay_cases", createCases)

func createCases(ctx context.Context, url string) error {
	return create(ctx, url, `CREATE TABLE cases (id bigint PRIMARY KEY, state text NOT NULL, version integer NOT NULL, note text, other text)`)
}

// create creates schema pawl, and what the DDL says.
func create(ctx context.Context, url, ddl string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, ddl)
	return errors.Join(err, conn.Close(ctx))
}

const partitions = 4

// synthetic returns a log of cases that take a random way through a few activities.
func synthetic(n int) *banklog.Log {
	random := rand.New(rand.NewPCG(1, 2))
	log := &banklog.Log{Name: "cases"}
	for i := range n {
		c := banklog.Case{ID: strconv.Itoa(i + 1), Events: []statemachine.Event{"opened"}}
		for _, e := range []statemachine.Event{"checked", "called", "offered", "called", "signed"} {
			if random.IntN(4) > 0 {
				c.Events = append(c.Events, e)
			}
		}
		log.Cases = append(log.Cases, c)
	}
	return log
}

// A world is a topic with the records of a log, and a database.
type world struct {
	testing.TB

	pool  *pgxpool.Pool
	topic string
	cfg   replay.Config
	n     int // records
}

type wire struct {
	Event statemachine.Event `json:"event"`
	Note  string             `json:"note"`
}

// newWorld returns a world whose database is still empty.
func newWorld(t testing.TB, log *banklog.Log, faults banklog.Faults) *world {
	t.Helper()
	machine, err := log.Machine()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, pool: testenv.Pool(t, withCases), topic: testenv.Topic(t, partitions)}
	w.cfg = replay.Config{
		Client: testenv.KafkaOpts(t), Topics: []string{w.topic}, Pool: w.pool,
		Tables: []postgres.Table{{Machine: machine, Name: "cases"}}, Decode: decode,
	}
	w.produce(log.Traffic(1, partitions, faults))
	return w
}

func decode(r *versioning.Record) ([]versioning.Change, error) {
	var m wire
	if err := json.Unmarshal(r.Value, &m); err != nil {
		return nil, err
	}
	return []versioning.Change{{Key: string(r.Key), Event: m.Event, Set: versioning.Columns{"note": m.Note}}}, nil
}

func (w *world) produce(lanes [][]banklog.Message) {
	w.Helper()
	client, err := kgo.NewClient(append(testenv.KafkaOpts(w), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		w.Fatal(err)
	}
	defer client.Close()
	for p, lane := range lanes {
		for _, m := range lane {
			value, err := json.Marshal(wire{m.Event, fmt.Sprintf("note of %s", m.ID)})
			if err != nil {
				w.Fatal(err)
			}
			client.Produce(w.Context(), &kgo.Record{
				Topic: w.topic, Partition: int32(p), Key: []byte(m.Case), Value: value,
				Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(m.ID)}},
			}, func(_ *kgo.Record, err error) {
				if err != nil {
					w.Errorf("produce: %v", err)
				}
			})
			w.n++
		}
	}
	if err := client.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// send produces one record.
func (w *world) send(partition int32, key, event, id string) {
	w.Helper()
	value, err := json.Marshal(wire{statemachine.Event(event), "note of " + id})
	if err != nil {
		w.Fatal(err)
	}
	w.sendRecords(&kgo.Record{
		Topic: w.topic, Partition: partition, Key: []byte(key), Value: value,
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(id)}},
	})
}

func (w *world) sendRecords(records ...*kgo.Record) {
	w.Helper()
	client, err := kgo.NewClient(append(testenv.KafkaOpts(w), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		w.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(w.Context(), records...).FirstErr(); err != nil {
		w.Fatal(err)
	}
	w.n += len(records)
}

// read returns the records of a partition, as a worker would have them.
func (w *world) read(partition int32) (all []*versioning.Record) {
	w.Helper()
	client, err := kgo.NewClient(append(testenv.KafkaOpts(w), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		w.topic: {partition: kgo.NewOffset().AtStart()},
	}))...)
	if err != nil {
		w.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(w.Context(), w.topic)
	if err != nil {
		w.Fatal(err)
	}
	end, _ := ends.Lookup(w.topic, partition)
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(w.Context())
		if err := fetches.Err(); err != nil {
			w.Fatal(err)
		}
		ids := make(map[string][16]byte)
		fetches.EachTopic(func(t kgo.FetchTopic) { ids[t.Topic] = kgorecord.TopicID(t.Topic, t.TopicID) })
		records := fetches.Records()
		maker := kgorecord.NewMaker(records, w.cfg.Decode, func(*versioning.Record) {})
		for _, k := range records {
			all, next = append(all, maker.Make(k, ids[k.Topic])), k.Offset+1
		}
	}
	return all
}

func (w *world) exec(sql string, args ...any) {
	w.Helper()
	if _, err := w.pool.Exec(w.Context(), sql, args...); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
}

// text returns the only value of a query, as text.
func (w *world) text(sql string, args ...any) (s string) {
	w.Helper()
	if err := w.pool.QueryRow(w.Context(), sql, args...).Scan(&s); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	return s
}

// digest returns a hash of everything that the framework and the application keep.
func (w *world) digest() string {
	w.Helper()
	return w.text(`SELECT md5(concat(
		(SELECT string_agg(c::text, ';' ORDER BY id) FROM cases AS c),
		(SELECT string_agg(concat(entity, version, event, from_state, to_state, message_id, "offset"), ';' ORDER BY entity, version) FROM pawl.transitions),
		(SELECT string_agg(concat(topic, partition, "offset", reason), ';' ORDER BY partition, "offset") FROM pawl.parked),
		(SELECT string_agg(concat(topic, partition, "offset", reason), ';' ORDER BY partition, "offset") FROM pawl.dead_letters)))`)
}

func (w *world) must(report *replay.Report, err error) *replay.Report {
	w.Helper()
	if err != nil {
		w.Fatalf("%v\n%v", err, report)
	}
	return report
}
