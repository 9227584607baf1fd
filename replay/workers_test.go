package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// work starts a worker, and returns a function that stops it.
func (w *world) work(group string, opts ...func(*consumer.Config)) (stop func()) {
	w.Helper()
	store, err := postgres.Open(w.Context(), w.pool, w.cfg.Tables...)
	if err != nil {
		w.Fatal(err)
	}
	cfg := consumer.Config{Client: w.cfg.Client, Group: group, Topics: w.cfg.Topics, Store: store, Decode: decode}
	for _, opt := range opts {
		opt(&cfg)
	}
	worker, err := consumer.New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				w.Errorf("worker: %v", err)
			}
		})
	}
	w.Cleanup(stop)
	return stop
}

// group returns the name of the workers' group.
func (w *world) group() string { return w.topic + " workers" }

// committed returns what a group has committed, and where the topic ends, over all partitions.
func (w *world) committed(group string) (at, end int64) {
	w.Helper()
	client, err := kgo.NewClient(w.cfg.Client...)
	if err != nil {
		w.Fatal(err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	offsets, err := adm.FetchOffsets(w.Context(), group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) && !kerr.IsRetriable(err) {
		w.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == w.topic {
			at += o.At
		}
	})
	ends, err := adm.ListEndOffsets(w.Context(), w.topic)
	if err != nil {
		w.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { end += o.Offset })
	return at, end
}

// await waits until a group has committed everything.
func (w *world) await(group string) {
	w.Helper()
	testenv.Eventually(w, time.Minute, func() error {
		at, end := w.committed(group)
		if at < end {
			return fmt.Errorf("committed %d of %d", at, end)
		}
		return nil
	})
}

// A load produces records of a few entities until it is stopped, some of them again.
type load struct {
	*world

	client *kgo.Client
	sent   [][]*kgo.Record // by partition
	random *rand.Rand
	n      int
}

const loadKeys = 40

func (w *world) load() (stop func() *load) {
	w.Helper()
	client, err := kgo.NewClient(append(testenv.KafkaOpts(w), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		w.Fatal(err)
	}
	l := &load{world: w, client: client, sent: make([][]*kgo.Record, 2), random: rand.New(rand.NewPCG(1, 2))}
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer client.Close()
		for ctx.Err() == nil && l.some() {
			select {
			case <-time.After(25 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	w.Cleanup(func() { cancel(); <-ended })
	return func() *load {
		cancel()
		<-ended
		return l
	}
}

// some produces a few records.
func (l *load) some() bool {
	var records []*kgo.Record
	for range 10 {
		key := l.random.IntN(1 + l.random.IntN(loadKeys)) // some are hot, others hardly move
		p := key % 2
		if n := len(l.sent[p]); n > 0 && l.random.IntN(4) == 0 { // again
			old := l.sent[p][l.random.IntN(n)]
			records = append(records, &kgo.Record{Topic: old.Topic, Partition: old.Partition, Key: old.Key, Value: old.Value, Headers: old.Headers})
			l.sent[p] = append(l.sent[p], records[len(records)-1])
			continue
		}
		l.n++
		event := statemachine.Event("noted")
		switch l.random.IntN(10) {
		case 0:
			event = "checked"
		case 1, 2, 3, 4:
			event = "opened"
		}
		value, err := json.Marshal(wire{event, fmt.Sprint("note ", l.n)})
		if err != nil {
			l.Error(err)
			return false
		}
		records = append(records, &kgo.Record{
			Topic: l.topic, Partition: int32(p), Key: []byte(strconv.Itoa(key)), Value: value,
			Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(strconv.Itoa(l.n))}},
		})
		l.sent[p] = append(l.sent[p], records[len(records)-1])
	}
	if err := l.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		l.Error(err)
		return false
	}
	return true
}

// oracle returns what the history must be, by entity: each message that is legal in its turn, once.
func (l *load) oracle() map[string][]string {
	all := make(map[string][]string)
	type entity struct {
		state statemachine.State
		seen  map[string]bool
	}
	entities := make(map[string]*entity)
	for _, sent := range l.sent {
		for _, r := range sent {
			key, id := string(r.Key), string(r.Headers[0].Value)
			var m wire
			if err := json.Unmarshal(r.Value, &m); err != nil {
				l.Fatal(err)
			}
			e := entities[key]
			if e == nil {
				e = &entity{seen: make(map[string]bool)}
				entities[key] = e
			}
			if to, legal := notes.Fire(e.state, m.Event); legal && !e.seen[id] {
				e.seen[id], e.state = true, to
				all[key] = append(all[key], id+" "+string(m.Event))
			}
		}
	}
	return all
}

func (w *world) history() map[string][]string {
	w.Helper()
	all := make(map[string][]string)
	rows, err := w.pool.Query(w.Context(), `SELECT entity, message_id || ' ' || event FROM pawl.transitions ORDER BY entity, version`)
	if err != nil {
		w.Fatal(err)
	}
	var key, step string
	if _, err := pgx.ForEachRow(rows, []any{&key, &step}, func() error { all[key] = append(all[key], step); return nil }); err != nil {
		w.Fatal(err)
	}
	return all
}

// first makes sure that all entities exist, so that nothing comes too early.
func (w *world) first() *load {
	w.Helper()
	l := &load{world: w, sent: make([][]*kgo.Record, 2)}
	for key := range loadKeys {
		value, err := json.Marshal(wire{"opened", "first"})
		if err != nil {
			w.Fatal(err)
		}
		r := &kgo.Record{
			Topic: w.topic, Partition: int32(key % 2), Key: []byte(strconv.Itoa(key)), Value: value,
			Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("first-" + strconv.Itoa(key))}},
		}
		w.sendRecords(r)
		l.sent[key%2] = append(l.sent[key%2], r)
	}
	return l
}

// TestNextToWorkers verifies and rebuilds entities while a worker keeps moving them.
func TestNextToWorkers(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 2)
	first := w.first()
	stopWork := w.work(w.group())
	w.await(w.group())
	stopLoad := w.load()
	cfg := w.cfg
	cfg.Group = w.group()
	for range 3 {
		if report := w.must(replay.Verify(t.Context(), cfg)); !report.Clean() {
			t.Errorf("while workers go on: %v", report)
		}
	}
	var replaced, refused int64
	for n := range 3 {
		w.exec(`UPDATE pawl.transitions AS t SET message_id = 'made up' FROM (
			SELECT DISTINCT ON (entity) machine, entity, version FROM pawl.transitions WHERE entity::int % 5 = $1 ORDER BY entity, md5(version::text)
		) AS x WHERE x.machine = t.machine AND x.entity = t.entity AND x.version = t.version`, n)
		w.exec(`UPDATE cases SET note = 'made up' WHERE id % 5 = $1`, n)
		report := w.must(replay.Rebuild(t.Context(), w.cfg))
		replaced, refused = replaced+report.Rebuilt.Entities, refused+report.Rebuilt.Refused
	}
	l := stopLoad()
	w.await(w.group())
	stopWork()
	t.Logf("%d records; replaced %d entities and refused %d", l.n, replaced, refused)
	w.must(replay.Rebuild(t.Context(), w.cfg))
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() {
		t.Errorf("at the end: %v", report)
	}
	for p := range l.sent {
		l.sent[p] = append(first.sent[p], l.sent[p]...)
	}
	if diff := cmp.Diff(l.oracle(), w.history()); diff != "" {
		t.Errorf("(-one by one, +replaced):\n%s", diff)
	}
	if replaced == 0 {
		t.Error("nothing was replaced while workers went on")
	}
}

// TestElsewhere takes steps that no record makes as they are, and does not rebuild the entities that have some.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	for _, key := range []string{"1", "2", "3", "4"} {
		w.send(0, key, "opened", "o"+key)
		w.send(0, key, "noted", "n"+key)
	}
	w.must(replay.Apply(t.Context(), w.cfg))
	store, err := postgres.Open(t.Context(), w.pool, w.cfg.Tables...)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"1", "2"} {
		outcome, err := store.Do(t.Context(), versioning.Change{Machine: "notes", Key: key, Event: "noted", MessageID: "direct"})
		if err != nil || outcome.Verdict != versioning.Applied {
			t.Fatalf("%v, %v", outcome, err)
		}
	}
	// Entity 2 differs before the step from elsewhere, 3 differs, and 1 is what it should be.
	w.exec(`UPDATE pawl.transitions SET event = 'made up' WHERE entity IN ('2', '3') AND version = 2`)
	report := w.must(replay.Rebuild(t.Context(), w.cfg))
	if v := report.Verified; v.Entities != 4 || v.Given != 2 || v.Cut != 0 || v.Different != 2 || len(v.Differences) != 2 || v.Differences[0].Entity != "2" {
		t.Errorf("%v", report)
	}
	if r := report.Rebuilt; r.Entities != 1 || r.Refused != 1 || r.Refusals[0].Entity != "2" || report.Clean() {
		t.Errorf("%v", report)
	}
	wantCaveat(t, report, replay.Elsewhere)
	if got := w.text(`SELECT string_agg(entity || event, ' ' ORDER BY entity) FROM pawl.transitions WHERE version = 2`); got != "1noted 2made up 3noted 4noted" {
		t.Error(got)
	}
}

func wantCaveat(t *testing.T, r *replay.Report, kinds ...replay.CaveatKind) {
	t.Helper()
	var got []replay.CaveatKind
	for _, c := range r.Caveats {
		got = append(got, c.Kind)
	}
	if diff := cmp.Diff(kinds, got); diff != "" {
		t.Errorf("caveats (-want, +got):\n%s\n%v", diff, r)
	}
}

// TestGroupWithLag checks that records which the workers have not read yet are no differences.
func TestGroupWithLag(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 2)
	w.send(0, "1", "opened", "1")
	w.send(1, "2", "opened", "2")
	stop := w.work(w.group())
	w.await(w.group())
	stop()
	w.send(0, "1", "noted", "3")
	w.send(0, "3", "opened", "4")
	cfg := w.cfg
	cfg.Group = w.group()
	if report := w.must(replay.Verify(t.Context(), cfg)); !report.Clean() || report.Records != 2 || report.Verified.Entities != 2 {
		t.Errorf("%v", report)
	}
	if report := w.must(replay.Verify(t.Context(), w.cfg)); report.Clean() || report.Verified.Different != 2 {
		t.Errorf("without the group: %v", report)
	}
	cfg.Group = "others"
	if report, err := replay.Verify(t.Context(), cfg); !errors.Is(err, replay.ErrConfig) {
		t.Errorf("a group that has committed nothing: %v, %v", report, err)
	}
}

// TestMoveOffsets moves a group, and checks that workers begin there.
func TestMoveOffsets(t *testing.T) {
	t.Parallel()
	for _, protocol := range []consumer.Protocol{consumer.Classic, consumer.Consumer} {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			t.Parallel()
			w := newNotes(t, 2)
			for i := range 10 {
				w.send(0, "1", "opened", strconv.Itoa(i))
				w.send(1, "2", "opened", strconv.Itoa(i))
			}
			stop := w.work(w.group(), func(c *consumer.Config) { c.Protocol = protocol })
			w.await(w.group())
			cfg := w.cfg
			cfg.Group = w.group()
			cfg.From.Offsets = map[string]map[int32]int64{w.topic: {0: 4}}
			want := []replay.Move{{Topic: w.topic, Partition: 0, From: 10, To: 4}}
			if err := replay.MoveOffsets(t.Context(), cfg, want); !errors.Is(err, replay.ErrGroupActive) {
				t.Errorf("with a member: %v", err)
			}
			if _, err := replay.PlanOffsets(t.Context(), cfg); !errors.Is(err, replay.ErrGroupActive) {
				t.Errorf("with a member: %v", err)
			}
			stop()
			testenv.Eventually(t, 30*time.Second, func() error {
				moves, err := replay.PlanOffsets(t.Context(), cfg)
				if diff := cmp.Diff(want, moves, cmpopts.IgnoreFields(replay.Move{}, "TopicID")); err == nil && diff != "" {
					t.Fatalf("(-want, +got):\n%s", diff)
				}
				return err
			})
			if err := replay.MoveOffsets(t.Context(), cfg, want); err != nil {
				t.Fatal(err)
			}
			if moves, err := replay.PlanOffsets(t.Context(), cfg); err != nil || moves != nil {
				t.Errorf("a second time: %v, %v", moves, err)
			}
			w.wantRead(protocol, 6)

			cfg.From = replay.From{}
			if moves, err := w.move(cfg); err != nil || len(moves) != 2 {
				t.Fatalf("%v, %v", moves, err)
			}
			w.wantRead(protocol, 20)
			w.send(0, "1", "noted", "a")
			w.send(0, "1", "noted", "b")
			cfg.From.Offsets = map[string]map[int32]int64{w.topic: {0: 11}} // forward, past the mark
			if moves, err := w.move(cfg); err != nil || len(moves) != 1 {
				t.Fatalf("%v, %v", moves, err)
			}
			w.wantRead(protocol, 1)
		})
	}
}

// move plans and moves.
func (w *world) move(cfg replay.Config) ([]replay.Move, error) {
	w.Helper()
	plan, err := replay.PlanOffsets(w.Context(), cfg)
	if err == nil {
		err = replay.MoveOffsets(w.Context(), cfg, plan)
	}
	return plan, err
}

// wantRead starts a worker, and wants it to read a number of records.
func (w *world) wantRead(protocol consumer.Protocol, want int) {
	w.Helper()
	var mu sync.Mutex
	got := 0
	stop := w.work(w.group(), func(c *consumer.Config) {
		c.Protocol = protocol
		c.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
			mu.Lock()
			defer mu.Unlock()
			got++
			return decode(r)
		}
	})
	w.await(w.group())
	stop()
	testenv.Eventually(w, 30*time.Second, func() error {
		cfg := w.cfg
		cfg.Group = w.group()
		_, err := replay.PlanOffsets(w.Context(), cfg)
		return err
	})
	if got != want {
		w.Errorf("the worker has read %d records, not %d", got, want)
	}
}
