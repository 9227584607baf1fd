package consumer

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/loglimit"
	"github.com/pawl-go/pawl/versioning"
)

// A logger writes a worker's logs. It limits lines that can repeat in a loop. Of a record's
// content it logs only the names of the machine, the entity and the event. It is safe for
// concurrent use.
type logger struct {
	log      *slog.Logger
	limits   loglimit.Limiter
	troubled atomic.Bool // the last line about the database was about trouble
	noAnswer atomic.Bool // the last line about the broker was that none answers
}

// newLogger returns a logger that calls broken if Config.Logger panics.
func newLogger(cfg Config, broken func(error)) *logger {
	return &logger{log: slog.New(careful{cfg.Logger.Handler(), broken}).With("group", cfg.Group)}
}

// limited logs a line unless too many of its kind were logged. Lines with the same
// message and scope are of one kind.
func (l *logger) limited(level slog.Level, msg, scope string, args ...any) {
	l.limits.Log(l.log, level, msg, scope, args...)
}

func (l *logger) fetch(topic string, partition int32, err error) {
	if session, ok := errors.AsType[*kgo.ErrGroupSession](err); ok {
		l.limited(slog.LevelWarn, "group session failed; joining again", "", "error", session.Err)
		return
	}
	if _, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
		l.limited(slog.LevelError, "broker lost records; going on with what it has", topic,
			"topic", topic, "partition", partition, "error", err)
		return
	}
	l.limited(slog.LevelWarn, "fetch failed; retrying", topic, "topic", topic, "partition", partition, "error", err)
}

func (l *logger) cantUnpack(topic string, partition int32, err error) {
	l.limited(slog.LevelError, reasonTooLarge, topic, "topic", topic, "partition", partition, "error", err)
}

func (l *logger) jump(j jump) {
	l.limited(slog.LevelError, "records were deleted before they were consumed, or the log was cut short", j.topic,
		"topic", j.topic, "partition", j.id, "expected", j.expected, "offset", j.found)
}

func (l *logger) trouble(err error, wait time.Duration, h Health) {
	l.troubled.Store(true)
	l.limited(slog.LevelError, "database in trouble; retrying", "", "retry_in", wait, "error", err,
		"since", h.Since, "partition", h.Partition, "lag", h.Lag)
}

func (l *logger) troubleOver() {
	if l.troubled.Load() && l.troubled.CompareAndSwap(true, false) {
		l.limited(slog.LevelInfo, "database answers again", "")
	}
}

func (l *logger) cantDecode(at partition, err error, wait time.Duration) {
	l.limited(slog.LevelError, "records can't be decoded; retrying", at.String(), "retry_in", wait, "error", err,
		"topic", at.topic, "partition", at.id)
}

func (l *logger) decodes() {
	l.limited(slog.LevelInfo, "records can be decoded again", "")
}

func (l *logger) mark(err error) {
	l.limited(slog.LevelError, "marks can't be read or written; no offset is committed meanwhile", "", "error", err)
}

// serverChanged logs that the run starts over.
func (l *logger) serverChanged() {
	l.limited(slog.LevelWarn, "database server was restarted or replaced, or the database restored, and may have lost commits; going back to its marks", "")
}

// back logs that the database has lost commits for a partition, which goes back to its
// mark. A negative offset is the start of the log.
func (l *logger) back(at partition, committed, mark int64) {
	l.limited(slog.LevelError, "the database has settled less than the group has committed; going back to its mark", at.String(),
		"topic", at.topic, "partition", at.id, "committed", committed, "offset", mark)
}

// moved logs that a partition begins at an offset that no worker has committed.
func (l *logger) moved(at partition, committed int64) {
	l.limited(slog.LevelWarn, "the group's offset was not committed by a Pawl worker; the partition begins there", at.String(),
		"topic", at.topic, "partition", at.id, "offset", committed)
}

// commit logs that a commit failed as a whole.
func (l *logger) commit(err error) {
	l.limited(slog.LevelWarn, "commit of offsets failed; the next one covers it", "", "error", err)
}

// commitOf logs that the broker has refused a partition's part of a commit.
func (l *logger) commitOf(at partition, err error) {
	l.limited(slog.LevelWarn, "commit of offsets failed; the next one covers it", at.topic,
		"topic", at.topic, "partition", at.id, "error", err)
}

func (l *logger) noBroker(client *kgo.Client, err error, h Health) {
	l.noAnswer.Store(true)
	l.limited(slog.LevelError, "no broker answers; retrying; check that it runs and that Config.Client has its address", "",
		"brokers", fmt.Sprint(client.OptValue(kgo.SeedBrokers)), "error", err,
		"since", h.Since, "lag", h.Lag)
}

func (l *logger) broker() {
	if l.noAnswer.CompareAndSwap(true, false) {
		l.limited(slog.LevelInfo, "broker answers", "")
	}
}

// stalled logs that the worker makes no progress although nothing has failed.
func (l *logger) stalled(h Health) {
	l.limited(slog.LevelError, reasonStalled, "", "since", h.Since, "partition", h.Partition, "lag", h.Lag)
}

// heldUp logs that an open transaction hides the end of a partition.
func (l *logger) heldUp(h Health) {
	l.limited(slog.LevelError, reasonHeldUp, "", "since", h.Since, "partition", h.Partition, "lag", h.Lag)
}

// stepwise logs which tables the store writes one step at a time, if the store reports it.
func (l *logger) stepwise(store Store) {
	s, ok := store.(StepwiseReporter)
	if !ok {
		return
	}
	for _, t := range s.Stepwise() {
		l.log.Info("the store writes the steps of this table one at a time, because its triggers or constraints could notice the difference (see postgres.Table.FoldSteps)",
			"machine", t.Machine, "table", t.Table, "always", t.Always, "sometimes", t.Sometimes)
	}
}

func (l *logger) noTopic(topic string) {
	l.limited(slog.LevelWarn, "topic does not exist; create it or correct Config.Topics; the worker reads it once it exists", topic, "topic", topic)
}

func (l *logger) sweep(err error) {
	l.limited(slog.LevelWarn, "sweep of parked records failed; trying again", "", "error", err)
}

func (l *logger) clock(err error) {
	l.limited(slog.LevelWarn, "could not read the ends of partitions; parked records do not age meanwhile", "", "error", err)
}

func (l *logger) swept(s versioning.Swept) {
	l.limited(slog.LevelInfo, "parked records swept", "", "released", len(s.Released), "expired", s.Expired)
}

func (l *logger) redrive(err error) {
	l.limited(slog.LevelWarn, "dead letters of an older version of a machine could not be judged again; trying again", "", "error", err)
}

func (l *logger) redriven(n int) {
	l.limited(slog.LevelInfo, "dead letters of an older version of a machine are settled now", "", "settled", n)
}

func (l *logger) fire(err error) {
	l.limited(slog.LevelError, reasonTimers, "", "error", err)
}

// setAside logs that the store tries a timer again later and fires the others.
func (l *logger) setAside(err error) {
	l.limited(slog.LevelWarn, "a timer can't be fired now; it is tried again later, and the others are fired", "", "error", err)
}

func (l *logger) countTimers(err error) {
	l.limited(slog.LevelWarn, "timers can't be counted; trying again", "", "error", err)
}

// fired logs what firing timers has settled at level debug, and at level warn each dead letter.
func (l *logger) fired(settled []versioning.Settled) {
	for _, s := range settled {
		if s.Outcome.DeadLettered() {
			l.deadLettered(s.Record, s.Outcome)
		}
	}
	if len(settled) > 0 {
		l.log.Debug("timers fired", "records", len(settled))
	}
}

func (l *logger) copy(err error) {
	l.limited(slog.LevelWarn, "copy of dead letters failed; trying again", "", "error", err)
}

func (l *logger) leave(err error) {
	l.log.Warn("could not leave the group; its session has to time out", "error", err)
}

func (l *logger) assignment(msg string, partitions map[string][]int32) {
	for topic, ids := range partitions {
		l.log.Info(msg, "topic", topic, "partitions", ids) //nolint:sloglint // the callers' messages are constant
	}
}

// batch logs a settled batch at level debug, and at level warn each of its dead letters
// and each record that waits because the machine does not know the state of its row, or the event.
func (l *logger) batch(b *batch) {
	for i, o := range b.outcomes {
		switch {
		case o.DeadLettered():
			l.deadLettered(b.records[i], o)
		case o.Reason == versioning.ReasonUnknownState:
			l.record("record parked; correct the row's state, or start workers whose machine has it", b.records[i], o,
				"detail", clip(o.Detail)) // which quotes the row only
		case o.Reason == versioning.ReasonUnknownEvent:
			l.record("record parked; start workers whose machine has the event, or it becomes a dead letter after Table.KeepUnknown", b.records[i], o,
				"detail", unknownEvent(o))
		}
	}
	for _, s := range b.released {
		if s.Outcome.DeadLettered() {
			l.deadLettered(s.Record, s.Outcome)
		}
	}
	l.log.Debug("batch settled", "records", len(b.records),
		"decode", b.took.decode, "apply", b.took.apply)
}

func (l *logger) deadLettered(r *versioning.Record, o versioning.Outcome) {
	var detail []any
	if text := unknownEvent(o); text != "" {
		detail = []any{"detail", text}
	}
	l.record("record dead-lettered; table dead_letters says why, and Store.Redrive judges it again once that is fixed", r, o, detail...)
}

// unknownEvent returns the detail of an outcome if its reason is an unknown event. The detail
// may name the nearest known event. It contains nothing of the record but the event's name,
// which unknownEvent clips; what comes after the name stays.
func unknownEvent(o versioning.Outcome) string {
	before, after, ok := strings.Cut(o.Detail, strconv.Quote(string(o.Event)))
	if o.Reason != versioning.ReasonUnknownEvent || !ok {
		return ""
	}
	return before + strconv.Quote(clip(string(o.Event))) + after
}

// record logs the verdict on a record. If the record names no entity, the line has the
// length of its key instead.
func (l *logger) record(msg string, r *versioning.Record, o versioning.Outcome, args ...any) {
	args = append([]any{"topic", r.Origin.Topic, "partition", r.Origin.Partition, "offset", r.Origin.Offset}, args...)
	if o.Entity.Key == "" {
		args = append(args, "key_bytes", len(r.Key))
	}
	l.limited(slog.LevelWarn, msg, r.Origin.Topic, append(args,
		"machine", clip(o.Entity.Machine), "entity", clip(o.Entity.Key), "event", clip(string(o.Event)),
		"verdict", o.Verdict.String(), "reason", string(o.Reason))...)
}

// clip limits the length of a name that a record contains.
func clip(name string) string {
	const most = 100
	if len(name) <= most {
		return name
	}
	return name[:most] + "..."
}
