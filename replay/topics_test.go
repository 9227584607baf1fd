package replay_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// admin returns a client for the broker of a world.
func (w *world) admin(opts ...kgo.Opt) *kadm.Client {
	w.Helper()
	client, err := kgo.NewClient(append(testenv.KafkaOpts(w), opts...)...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// TestFrom begins at offsets and at a timestamp.
func TestFrom(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 3) // partition 2 stays empty
	began := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for i := range 6 {
		for p := range int32(2) {
			w.sendRecords(&kgo.Record{
				Topic: w.topic, Partition: p, Key: []byte(strconv.Itoa(int(p))), Value: []byte(`{"event": "opened", "note": "x"}`),
				Timestamp: began.Add(time.Duration(i) * time.Minute),
			})
		}
	}
	dryRun := func(from replay.From, want int64) {
		t.Helper()
		cfg := w.cfg
		cfg.From = from
		if report := w.must(replay.DryRun(t.Context(), cfg)); report.Records != want {
			t.Errorf("from %v: %v", from, report)
		}
	}
	dryRun(replay.From{}, 12)
	dryRun(replay.From{Time: began.Add(4 * time.Minute)}, 4)
	dryRun(replay.From{Time: began.Add(-time.Minute)}, 12)
	dryRun(replay.From{Time: began.Add(time.Hour)}, 0)
	dryRun(replay.From{Offsets: map[string]map[int32]int64{w.topic: {0: 4}}}, 2)
	dryRun(replay.From{Offsets: map[string]map[int32]int64{w.topic: {0: 4, 1: 100, 2: 0}}}, 2)
	dryRun(replay.From{Offsets: map[string]map[int32]int64{w.topic: {}}}, 0)
	cfg := w.cfg
	cfg.From.Offsets = map[string]map[int32]int64{w.topic: {7: 0}}
	if _, err := replay.DryRun(t.Context(), cfg); !errors.Is(err, replay.ErrConfig) {
		t.Errorf("a partition that does not exist: %v", err)
	}
	cfg.Topics, cfg.From = []string{w.topic + "-missing"}, replay.From{}
	if _, err := replay.DryRun(t.Context(), cfg); !errors.Is(err, replay.ErrTopic) {
		t.Errorf("a topic that does not exist: %v", err)
	}

	w.must(replay.Apply(t.Context(), w.cfg))
	cfg = w.cfg
	cfg.From.Offsets = map[string]map[int32]int64{w.topic: {0: 0}}
	report := w.must(replay.Verify(t.Context(), cfg)) // of one partition: the other entity is from elsewhere
	if !report.Clean() || report.Verified.Entities != 1 || report.Verified.Cut != 1 {
		t.Errorf("%v", report)
	}
	wantCaveat(t, report, replay.Elsewhere)
}

// TestPerSecond limits the rate.
func TestPerSecond(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	for i := range 15 {
		w.send(0, "1", "opened", strconv.Itoa(i))
	}
	w.cfg.PerSecond = 10
	began := time.Now()
	report := w.must(replay.DryRun(t.Context(), w.cfg))
	if took := time.Since(began); report.Records != 15 || took < 400*time.Millisecond {
		t.Errorf("%d records in %v, at 10 records/s", report.Records, took)
	}
}

// TestTransactions reads topics whose last records were aborted.
func TestTransactions(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 2)
	producer, err := kgo.NewClient(append(testenv.KafkaOpts(t), kgo.TransactionalID(w.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	transaction := func(end kgo.TransactionEndTry, keys ...string) {
		t.Helper()
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			r := &kgo.Record{Topic: w.topic, Key: []byte(key), Value: []byte(`{"event": "opened"}`)}
			if err := producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := producer.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	transaction(kgo.TryCommit, "1", "2")
	transaction(kgo.TryAbort, "3", "4")
	transaction(kgo.TryCommit, "5")
	transaction(kgo.TryAbort, "6", "7")
	w.must(replay.Apply(t.Context(), w.cfg))
	if got := w.text(`SELECT string_agg(id::text, ' ' ORDER BY id) FROM cases`); got != "1 2 5" {
		t.Errorf("applied: %s", got)
	}
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() || report.Of(versioning.Applied) != 3 {
		t.Errorf("%v", report)
	}
}

// TestDeletedStart verifies a topic whose first records were deleted. Entities that they have
// moved can't be compared, and must not be reported.
func TestDeletedStart(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 2)
	for _, key := range []string{"1", "2"} {
		w.send(0, key, "opened", "o"+key)
	}
	w.send(0, "1", "noted", "n1")
	w.send(0, "3", "opened", "o3")
	w.must(replay.Apply(t.Context(), w.cfg))
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: w.topic, Partition: 0, At: 2})
	deleted, err := w.admin().DeleteRecords(t.Context(), offsets)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	var before []replay.Caveat
	cfg := w.cfg
	cfg.Begin = func(r replay.Report) { before = r.Caveats }
	report := w.must(replay.Verify(t.Context(), cfg))
	if v := report.Verified; !report.Clean() || report.Records != 2 || v.Entities != 1 || v.Cut != 2 {
		t.Errorf("%v", report)
	}
	wantCaveat(t, report, replay.Retention, replay.Elsewhere)
	if len(before) != 2 {
		t.Errorf("said before: %v", before)
	}

	// Records that are deleted after the replay has begun are an error.
	cfg.Begin = func(replay.Report) {
		offsets.Add(kadm.Offset{Topic: w.topic, Partition: 0, At: 3})
		if _, err := w.admin().DeleteRecords(t.Context(), offsets); err != nil {
			t.Error(err)
		}
	}
	if report, err := replay.DryRun(t.Context(), cfg); !errors.Is(err, replay.ErrTopic) {
		t.Errorf("deleted meanwhile: %v, %v", report, err)
	}
}

// TestCreatedAgain replays a topic that was deleted and created again.
func TestCreatedAgain(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	for i := range 3 {
		w.send(0, "1", "opened", "x"+strconv.Itoa(i))
	}
	w.must(replay.Apply(t.Context(), w.cfg))
	again := func() {
		t.Helper()
		if _, err := w.admin().DeleteTopics(t.Context(), w.topic); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 30*time.Second, func() error {
			created, err := w.admin().CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": new("compact")}, w.topic)
			return errors.Join(err, created.Err)
		})
	}
	cfg := w.cfg
	cfg.Keep = true
	cfg.Begin = func(replay.Report) { again() }
	if report, err := replay.Verify(t.Context(), cfg); !errors.Is(err, replay.ErrTopic) {
		t.Errorf("created again meanwhile: %v, %v", report, err)
	}
	w.send(0, "2", "opened", "x0")
	cfg.Begin = nil
	if report, err := replay.Verify(t.Context(), cfg); !errors.Is(err, replay.ErrTopic) {
		t.Errorf("the rest of the old topic: %v, %v", report, err)
	}
	w.exec(`DROP SCHEMA pawl_shadow CASCADE`)
	report := w.must(replay.Verify(t.Context(), w.cfg))
	if v := report.Verified; v.Entities != 1 || v.Cut != 1 || v.Different != 1 || v.Differences[0].Entity != "2" {
		t.Errorf("%v", report) // nobody has applied entity 2
	}
	wantCaveat(t, report, replay.Compaction, replay.Elsewhere)
}

// TestNewPartitions resumes a verification after partitions were added: these are not part of it.
func TestNewPartitions(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	w.send(0, "1", "opened", "1")
	w.must(replay.Apply(t.Context(), w.cfg))
	cfg := w.cfg
	cfg.Keep = true
	w.must(replay.Verify(t.Context(), cfg))
	added, err := w.admin().CreatePartitions(t.Context(), 1, w.topic)
	if err == nil {
		err = added.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		client, err := kgo.NewClient(append(testenv.KafkaOpts(t), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordRetries(1))...)
		if err != nil {
			return err
		}
		defer client.Close()
		return client.ProduceSync(t.Context(), &kgo.Record{Topic: w.topic, Partition: 1, Key: []byte("1"), Value: []byte(`{"event": "noted"}`)}).FirstErr()
	})
	w.must(replay.Apply(t.Context(), w.cfg))
	if report := w.must(replay.Verify(t.Context(), cfg)); report.Verified.Different != 0 || report.Verified.Cut != 1 {
		t.Errorf("resumed: %v", report)
	}
	w.exec(`DROP SCHEMA pawl_shadow CASCADE`)
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() || report.Verified.Cut != 0 || report.Verified.Steps != 2 {
		t.Errorf("a new one: %v", report)
	}
}
