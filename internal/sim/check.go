package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// A place is a record's partition and offset.
type place struct {
	partition int32
	offset    int64
}

func placeOf(o versioning.Origin) place { return place{o.Partition, o.Offset} }

// A ledger is the content of the store, indexed by record.
type ledger struct {
	script  *script
	history map[string][]versioningtest.Transition // by key
	steps   map[place]int
	parked  map[place]int
	dead    map[place]int

	produced map[place]time.Time
	emitted  map[string]time.Time // the times of the steps that emitted messages, by message ID
}

// ledger reads the store. It reads the parked records first, because a record
// may move from there to the others meanwhile.
func (w *world) ledger() *ledger {
	l := &ledger{
		script: w.script, history: make(map[string][]versioningtest.Transition),
		steps: make(map[place]int), parked: make(map[place]int), dead: make(map[place]int),
		produced: w.produced, emitted: make(map[string]time.Time),
	}
	for _, p := range w.store.Parked() {
		if !isTimer(p.Origin) {
			l.parked[placeOf(p.Origin)]++
		}
	}
	for _, d := range w.store.DeadLetters() {
		if !isTimer(d.Origin) {
			l.dead[placeOf(d.Origin)]++
		}
	}
	for _, m := range w.store.Messages() {
		sent := versioning.Emitted{Entity: m.Entity, Version: m.Version, Index: m.Index}
		l.emitted[sent.ID()] = m.Time
	}
	for entity := range w.store.Rows() {
		l.history[entity.Key] = w.store.History(entity)
		for _, step := range l.history[entity.Key] {
			if !isTimer(step.Origin) {
				l.steps[placeOf(step.Origin)]++
			}
		}
	}
	return l
}

// isTimer reports whether a record was made by a timer.
func isTimer(o versioning.Origin) bool { return o.TopicID == versioning.TimerTopicID }

// fates returns the final verdicts on a record. There must be exactly one.
func (l *ledger) fates(at place) (fates []string) {
	m := &l.script.messages[at.partition][at.offset]
	if l.steps[at] > 0 {
		fates = append(fates, "applied")
	}
	for range l.parked[at] {
		fates = append(fates, "parked")
	}
	for range l.dead[at] {
		fates = append(fates, "dead letter")
	}
	if len(fates) == 0 && m.garbage == readable && l.isDuplicate(m) {
		fates = append(fates, "duplicate")
	}
	return fates
}

func (l *ledger) isDuplicate(m *message) bool {
	return !slices.ContainsFunc(m.Parts, func(p model.Part) bool { return !l.hasTaken(m, p) })
}

// hasTaken reports whether an entity's history proves that a part of a message
// has taken effect, by any record.
func (l *ledger) hasTaken(m *message, part model.Part) bool {
	steps := l.history[part.Key]
	if part.Expected >= 0 {
		return part.Expected < int64(len(steps)) && steps[part.Expected].Event == part.Event
	}
	identity := l.script.identityOf(m)
	return slices.ContainsFunc(steps, func(s versioningtest.Transition) bool {
		if identity == versioning.ByState {
			return s.Event == part.Event // an event has one place in the machine
		}
		return identity == versioning.ByMessage && s.MessageID == m.ID
	})
}

// seeCommit runs on the broker before each commit takes effect. Every record
// below the offset must have its fate in the store.
func (w *world) seeCommit(request kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // the form of kfake's controls
	w.cluster.KeepControl()
	w.mu.Lock()
	defer w.mu.Unlock()
	var l *ledger
	lost := w.highestLost()
	for _, t := range request.(*kmsg.OffsetCommitRequest).Topics {
		for _, p := range t.Partitions {
			if p.Offset <= max(w.checked[p.Partition], lost[p.Partition]) {
				continue
			}
			if l == nil {
				l = w.ledger()
			}
			if at, ok := l.undecided(p.Partition, p.Offset); ok {
				w.wrong = append(w.wrong, fmt.Sprintf("partition %d is being committed up to %d, but offset %d has no fate", p.Partition, p.Offset, at.offset))
			}
			w.checked[p.Partition] = p.Offset
		}
	}
	return nil, nil, false
}

// undecided returns a record below an offset that has no fate.
func (l *ledger) undecided(partition int32, below int64) (at place, ok bool) {
	for at = (place{partition: partition}); at.offset < below; at.offset++ {
		if len(l.fates(at)) == 0 {
			return at, true
		}
	}
	return at, false
}

// remember keeps the marks that a worker has written to a server. The worker commits their
// offsets next.
func (w *world) remember(on versioning.Server, marks []versioning.Mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.highest[on] == nil {
		w.highest[on] = make([]int64, len(w.script.messages))
	}
	for _, m := range marks {
		w.highest[on][m.Partition] = max(w.highest[on][m.Partition], m.Offset)
	}
}

// highestLost returns the highest marks on servers that are gone, by partition. Commits up to
// them may still be on their way, even if the next worker has lowered the mark since.
func (w *world) highestLost() []int64 {
	_, here, err := w.store.Marks(context.Background(), group, nil)
	if err != nil {
		panic(err) // its context is not canceled
	}
	lost := make([]int64, len(w.script.messages))
	for server, marks := range w.highest {
		for p, offset := range marks {
			if server != here {
				lost[p] = max(lost[p], offset)
			}
		}
	}
	return lost
}

// restore replaces the database with a backup and loses what was committed since.
func (w *world) restore(b saved) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.foreign.restore(b)
	clear(w.checked)
	w.covered["restore"]++
}

// check checks the result of the history.
func (w *world) check() {
	l := w.ledger()
	for p, messages := range w.script.messages {
		for i := range messages {
			at := place{int32(p), int64(i)}
			if fates := l.fates(at); len(fates) != 1 {
				w.fail("record %v has verdicts %v, want exactly one", at, fates)
			}
			w.checkWhole(l, at)
		}
	}
	rows := w.store.Rows()
	for entity, row := range rows {
		w.checkPath(l, entity, row)
	}
	w.checkAccounts(l)
	w.checkAlarms(l)
	if !w.script.shared {
		w.compare(l)
	}
}

// checkWhole checks that a record that has moved anything made all of its
// steps, and none twice.
func (w *world) checkWhole(l *ledger, at place) {
	m := &w.script.messages[at.partition][at.offset]
	if l.steps[at] == 0 {
		return
	}
	if m.garbage != readable || l.steps[at] > len(m.Parts) {
		w.fail("record %v made %d steps, want %d", at, l.steps[at], len(m.Parts))
	}
	for _, part := range m.Parts {
		made := slices.ContainsFunc(l.history[part.Key], func(s versioningtest.Transition) bool {
			return placeOf(s.Origin) == at && s.Event == part.Event
		})
		if !made && !l.hasTaken(m, part) {
			w.fail("record %v was only partly applied: it did not move %q by %q", at, part.Key, part.Event)
		}
	}
}

// checkPath checks that an entity's history is a path of its machine, that no
// message occurs twice, and that the row is where the path ends.
func (w *world) checkPath(l *ledger, entity versioning.Entity, row versioningtest.Row) {
	state, by := statemachine.None, make(map[string]place)
	definition, identity := w.script.definition.Definition, w.script.identity
	switch entity.Machine {
	case accountDefinition.Name:
		definition, identity = accountDefinition, versioning.ByMessage
	case alarmDefinition.Name:
		definition, identity = alarmDefinition, versioning.ByMessage
	}
	steps := l.history[entity.Key]
	for i, s := range steps {
		if s.Version != int64(i+1) || s.From != state || !legal(definition, s) {
			w.fail("step %d of %v is not legal in state %q: %+v", i+1, entity, state, s)
		}
		state = s.To
		if identity != versioning.ByMessage {
			continue
		}
		if first, again := by[s.MessageID]; again && (isTimer(s.Origin) || first != placeOf(s.Origin) && !w.script.versioned(s.Origin)) {
			w.fail("message %q moved %v twice, by records %v and %v", s.MessageID, entity, first, placeOf(s.Origin))
		}
		by[s.MessageID] = placeOf(s.Origin)
	}
	if row.Version != int64(len(steps)) || row.State != state {
		w.fail("row of %v is in state %q at version %d, but its history ends in %q at %d", entity, row.State, row.Version, state, len(steps))
	}
}

func legal(d statemachine.Definition, step versioningtest.Transition) bool {
	return slices.ContainsFunc(d.Transitions, func(t statemachine.Transition) bool {
		from := len(t.From) == 0 && step.From == statemachine.None || slices.Contains(t.From, step.From)
		return from && t.Event == step.Event && t.To == step.To
	})
}

// versioned reports whether duplicates of a record are detected by version, not
// by ID.
func (s *script) versioned(o versioning.Origin) bool {
	return slices.ContainsFunc(s.messages[o.Partition][o.Offset].Parts, func(p model.Part) bool { return p.Expected >= 0 })
}
