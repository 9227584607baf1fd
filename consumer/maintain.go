package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// The headers that a copy of a dead letter has in addition to the record's own.
const (
	HeaderVerdict   = "pawl_verdict"
	HeaderReason    = "pawl_reason"
	HeaderDetail    = "pawl_detail"
	HeaderMachine   = "pawl_machine"
	HeaderEntity    = "pawl_entity"
	HeaderTopic     = "pawl_topic"
	HeaderPartition = "pawl_partition"
	HeaderOffset    = "pawl_offset"
	HeaderID        = "pawl_dead_letter_id"

	// HeaderTruncated is "true" if the record is too large for the dead-letter topic.
	// Then the copy has no key, no value and none of the record's own headers; the dead
	// letter in the database has them.
	HeaderTruncated = "pawl_truncated"
)

// DeadLetterSuffix returns the name of a topic with ".dlq" appended: "orders.dlq" for
// "orders". Use it as Config.DeadLetterTopic.
func DeadLetterSuffix(topic string) string { return topic + ".dlq" }

const (
	copyLimit       = 16 // dead letters per call, because they are held in memory
	maintainTimeout = 30 * time.Second
)

// The worker sweeps sweepSoon after a batch that parked records. Another worker may have
// moved their entity at the same moment, in a transaction that does not see the parked
// records and that this worker's did not see. That transaction may not have committed yet,
// because it waits for a lock or for a standby. So more sweeps follow, each after twice the
// wait of the one before, until the wait reaches Config.SweepEvery. So a record waits at most
// about twice as long as that transaction took. To limit the cost, a sweep waits at least
// sweepRest times as long as the last one took.
const (
	sweepSoon = 500 * time.Millisecond
	sweepRest = 10
)

// A maintainer sweeps the parked records, copies dead letters and fires timers. Each has its own
// goroutine, so batches wait for none of them, and sweeps do not wait while a dead-letter topic
// is missing.
type maintainer struct {
	*shared

	clock   clock
	parked  chan struct{} // holds one if there may be new parked records
	letters chan struct{} // holds one if there may be dead letters to copy
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func (m *maintainer) start(ctx context.Context) {
	ctx, m.cancel = context.WithCancel(ctx)
	if m.cfg.SweepEvery > 0 {
		sweeper := m.cfg.Store.(Sweeper) //nolint:forcetypeassert // New has checked that it is one
		m.done.Go(func() { m.sweepLoop(ctx, sweeper) })
	}
	if m.cfg.DeadLetterTopic != nil {
		m.done.Go(func() { m.copyLoop(ctx) })
	}
	if m.cfg.FireEvery > 0 {
		firer := m.cfg.Store.(TimerFirer) //nolint:forcetypeassert // New has checked that it is one
		m.done.Go(func() { m.fireLoop(ctx, firer) })
		if counter, ok := m.cfg.Store.(TimerCounter); ok {
			m.done.Go(func() { m.countLoop(ctx, counter) })
		}
	}
}

// assigned wakes the maintainer after an assignment. A sweep reports how far the partitions
// are read, for the age of parked records. The previous owner may have left dead letters
// that are not copied.
func (m *maintainer) assigned() {
	signal(m.parked)
	signal(m.letters)
}

// settled wakes the maintainer if a batch has parked records or left dead letters to copy.
func (m *maintainer) settled(b *batch) {
	isEarly := func(o versioning.Outcome) bool { return o.Verdict == versioning.Early }
	if slices.ContainsFunc(b.outcomes, isEarly) {
		signal(m.parked)
	}
	isDead := func(o versioning.Outcome) bool { return o.DeadLettered() }
	isDeadToo := func(s versioning.Settled) bool { return s.Outcome.DeadLettered() }
	if slices.ContainsFunc(b.outcomes, isDead) || slices.ContainsFunc(b.released, isDeadToo) {
		signal(m.letters)
	}
}

// signal sends to a channel of capacity 1 unless it is full.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default: // a signal is already pending
	}
}

func (m *maintainer) sweepLoop(ctx context.Context, sweeper Sweeper) {
	ticker := time.NewTicker(m.cfg.SweepEvery)
	defer ticker.Stop()
	var soon <-chan time.Time // fires for the next sweep after a batch that parked; nil while none is due
	wait, rest := sweepSoon, time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.parked:
			if soon == nil || wait > sweepSoon {
				wait = sweepSoon
				soon = time.After(max(wait, rest))
			}
		case <-soon:
			began := time.Now()
			m.sweep(ctx, sweeper)
			rest = sweepRest * time.Since(began)
			if soon, wait = nil, 2*wait; wait < m.cfg.SweepEvery {
				soon = time.After(max(wait, rest))
			}
		case <-ticker.C:
			m.sweep(ctx, sweeper)
		}
	}
}

func (m *maintainer) sweep(ctx context.Context, sweeper Sweeper) {
	ctx, cancel := context.WithTimeout(ctx, maintainTimeout)
	defer cancel()
	if err := m.clock.update(ctx); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		m.log.clock(err)
	}
	began := time.Now()
	swept, err := sweeper.Sweep(ctx, m.clock.reading())
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		m.log.sweep(err)
	}
	if !swept.At.IsZero() {
		if err := m.clock.look(ctx, swept.At); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			m.log.clock(err)
		}
	}
	m.maintained(ctx, began, Maintenance{Task: Sweeping, Settled: swept.Released, Expired: swept.Expired, Err: err})
	if swept.Expired > 0 || len(swept.Released) > 0 {
		m.log.swept(swept)
	}
	if redriver, ok := m.cfg.Store.(OlderRedriver); ok {
		m.redriveOlder(ctx, redriver)
	}
}

// copyLoop copies dead letters when there are new ones or newly assigned partitions. It
// retries periodically.
func (m *maintainer) copyLoop(ctx context.Context) {
	every := m.cfg.SweepEvery
	if every < 0 {
		every = defaultSweepEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		m.copyLetters(ctx)
		select {
		case <-ctx.Done():
			return
		case <-m.letters:
		case <-ticker.C:
		}
	}
}

// copyLetters copies the dead letters of the worker's partitions until none is left or a
// copy fails.
func (m *maintainer) copyLetters(ctx context.Context) {
	copier := m.cfg.Store.(DeadLetterCopier) // New has checked that it is one
	for ctx.Err() == nil {
		copied, err := m.copySome(ctx, copier)
		if err != nil && ctx.Err() == nil {
			m.log.copy(err)
			m.vitals.failedToCopy(err)
		}
		if err == nil {
			m.vitals.copied()
		}
		if err != nil || copied < copyLimit {
			return
		}
	}
}

func (m *maintainer) copySome(ctx context.Context, copier DeadLetterCopier) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, maintainTimeout)
	defer cancel()
	return copier.CopyDeadLetters(ctx, m.owned(), copyLimit, m.produce)
}

// owned returns the worker's partitions, by topic.
func (m *maintainer) owned() map[string][]int32 {
	owned := make(map[string][]int32)
	for at := range m.partitions.tenures() {
		owned[at.topic] = append(owned[at.topic], at.id)
	}
	return owned
}

// produce sends dead letters to their topics, waits until all in-sync replicas
// have them, and returns the IDs of those that arrived.
func (m *maintainer) produce(ctx context.Context, letters []versioning.DeadLetter) (copied []int64, err error) {
	records := make([]*kgo.Record, 0, len(letters))
	ids := make(map[*kgo.Record]int64, len(letters))
	var problems []error
	for i := range letters {
		var topic string
		err := protect("DeadLetterTopic", func() { topic = m.cfg.DeadLetterTopic(letters[i].Record.Origin.Topic) })
		if err != nil {
			problems = append(problems, err)
			continue
		}
		r := copyOf(&letters[i], topic, false)
		records, ids[r] = append(records, r), letters[i].ID
	}
	for _, result := range m.client.ProduceSync(ctx, records...) {
		failed := result.Err
		if errors.Is(failed, kerr.MessageTooLarge) {
			failed = m.produceTruncated(ctx, letters, ids[result.Record], result.Record.Topic)
		}
		if errors.Is(failed, kerr.UnknownTopicID) { // it may be created again; a client never finds that out by itself
			m.client.PurgeTopicsFromProducing(result.Record.Topic)
		}
		if failed != nil {
			problems = append(problems, fmt.Errorf("produce to topic %q%s: %w", result.Record.Topic, hint(failed), failed))
			continue
		}
		copied = append(copied, ids[result.Record])
	}
	return copied, errors.Join(problems...)
}

// produceTruncated sends a dead letter without the record's key, value and headers.
func (m *maintainer) produceTruncated(ctx context.Context, letters []versioning.DeadLetter, id int64, topic string) error {
	i := slices.IndexFunc(letters, func(l versioning.DeadLetter) bool { return l.ID == id })
	return m.client.ProduceSync(ctx, copyOf(&letters[i], topic, true)).FirstErr()
}

// hint says what to do about an error that is common in a new installation.
func hint(err error) string {
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return " (create it)"
	}
	return ""
}

// copyOf returns the record that copies a dead letter to its dead-letter topic.
func copyOf(l *versioning.DeadLetter, topic string, truncated bool) *kgo.Record {
	from := l.Record.Origin
	r := &kgo.Record{Topic: topic, Key: l.Record.Key, Value: l.Record.Value, Timestamp: l.Record.Timestamp}
	for _, h := range l.Record.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	reason := [][2]string{
		{HeaderVerdict, l.Outcome.Verdict.String()},
		{HeaderReason, string(l.Outcome.Reason)},
		{HeaderDetail, l.Outcome.Detail},
		{HeaderMachine, l.Outcome.Entity.Machine},
		{HeaderEntity, l.Outcome.Entity.Key},
		{HeaderTopic, from.Topic},
		{HeaderPartition, strconv.Itoa(int(from.Partition))},
		{HeaderOffset, strconv.FormatInt(from.Offset, 10)},
		{HeaderID, strconv.FormatInt(l.ID, 10)},
	}
	if truncated {
		r.Key, r.Value, r.Headers = nil, nil, nil
		reason = append(reason, [2]string{HeaderTruncated, "true"})
	}
	for _, h := range reason {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return r
}
