package versioning

import "github.com/pawl-go/pawl/statemachine"

// A View is what a store knew about the entities of a batch when it read them.
type View struct {
	// Entities holds what is known of entities. One that is missing here never
	// existed.
	Entities map[Entity]*Known

	// Parked holds the records that wait for the entities of the batch, in
	// the order in which they were parked.
	Parked []Parked

	// Dead holds the records of the batch that are dead letters.
	Dead map[Origin]Outcome

	// Refused holds the records that the database is known to refuse, each with its
	// error. Those of them that would be applied are rejected.
	Refused map[*Record]error

	spare slab[Known]
}

// NewView returns an empty view, with room for what is known of n entities.
func NewView(n int) *View {
	return &View{Entities: make(map[Entity]*Known, n), Dead: make(map[Origin]Outcome), spare: newSlab[Known](n)}
}

// Add returns what is known of an entity, for one more change of it, and whether that is
// new to the view. A view that is made by Add folds faster.
func (v *View) Add(e Entity) (k *Known, isNew bool) {
	k, seen := v.Entities[e]
	if !seen {
		k = v.spare.next()
		v.Entities[e] = k
		k.n = len(v.Entities)
	}
	k.changes++
	return k, !seen
}

// Known is what a store knew about an entity. The zero value is that of one that
// never existed.
type Known struct {
	Row    Row
	Exists bool // it has a row in its table

	// Messages holds, of the messages of the batch at least, those that have moved
	// the entity.
	Messages MessageIDs

	// Steps holds each step that the history was asked for, by the version that it
	// led to.
	Steps map[int64]PastStep

	// ByMessage holds, by message ID, all steps of the messages of the batch that
	// Messages has with other digests than theirs.
	ByMessage map[string][]PastStep

	n       int // its number in the view, from 1 on; 0: it has none
	changes int // how many the batch asks of it, to make room for
}

// Number returns the entity's number in a view that was made by [View.Add]: they count
// from 1 on. It is 0 in any other view.
func (k *Known) Number() int { return k.n }

// A Row is an entity's row. If Gone, the row was removed from its table, and
// State and Version are the last ones that the history knows.
type Row struct {
	State   statemachine.State
	Version int64
	Gone    bool
}

// A PastStep is what made a step.
type PastStep struct {
	Event     statemachine.Event
	MessageID string
	Origin    Origin
	Digest    Digest
}

// isOf reports whether it was a change of a record that made the step, of whose message
// ID the step is: the record is the same one, whatever was decoded from it then, or its
// message asked for the same.
func (s *PastStep) isOf(r *Record, change int) bool {
	return s.Origin.same(r.Origin) || s.Digest == r.Digest(change) || s.Digest == 0 && s.Event == r.Changes[change].Event
}

// isOwn reports whether a message ID is more than the record's origin: the same message
// has another origin in a copy of its topic.
func isOwn(messageID string, at Origin) bool { return messageID != "" && messageID != at.ID() }

// Parked is a record that waits for an entity.
type Parked struct {
	Record *Record
	Entity Entity
	Reason Reason

	// Seen is the version that the entity had when the record was last judged.
	Seen int64
}

// A Plan is what a fold decided: all that one transaction has to write, and
// the verdicts that are true once it has committed.
type Plan struct {
	// Outcomes holds a verdict for each record of the batch, in its order.
	Outcomes []Outcome

	// Moves holds one element for each entity that moves.
	Moves []Move

	// Park holds the records to park, Repark the parked ones that were judged
	// again and go on waiting, Release the parked ones that are done.
	Park    []Parked
	Repark  []Parked
	Release []Settled

	// Dead holds the records to keep as dead letters, Revive the dead letters
	// that are none any more: they were redriven, or can be decoded by now, and got
	// a better verdict.
	Dead   []Settled
	Revive []Settled

	// Refused holds, of those in View.Refused, the records that would have been applied,
	// and when they had their turn: after the step with this Seq.
	Refused map[*Record]int
}

// A Move takes one entity's row from one version to a later one, in one write.
type Move struct {
	Entity Entity
	Create bool // there is no row yet: insert it
	From   Row  // what the guard of the UPDATE expects; zero if Create
	Steps  []Step
}

// To returns the state and the version that the row ends in.
func (m *Move) To() (statemachine.State, int64) {
	last := &m.Steps[len(m.Steps)-1]
	return last.To, last.Version
}

// A Step is one transition: one row of history.
type Step struct {
	Event    statemachine.Event
	From, To statemachine.State
	Version  int64 // the row's version after the step
	Record   *Record
	Change   int // the index of the change in Record.Changes
	Seq      int // its place among all steps of the plan: the order in which they were decided
}

// change returns the change that made the step.
func (s *Step) change() *Change { return &s.Record.Changes[s.Change] }

// past returns the step as the history will know it.
func (s *Step) past() PastStep {
	return PastStep{s.Event, s.change().MessageID, s.Record.Origin, s.Digest()}
}

// Settled is a record with its outcome.
type Settled struct {
	Record  *Record
	Outcome Outcome
}
