package versioning

import "github.com/pawl-go/pawl/statemachine"

// A View is what a store knew about the entities of a batch when it read them.
type View struct {
	// Entities holds what is known about each entity. An entity that is not in it never
	// existed.
	Entities map[Entity]*Known

	// Parked holds the records that wait for the entities of the batch, in the order in
	// which they were parked.
	Parked []Parked

	// Dead holds the records of the batch that are dead letters.
	Dead map[Origin]Outcome

	// Refused holds the records that the database refuses, each with its error. Fold
	// rejects those of them that it would otherwise apply.
	Refused map[*Record]error

	spare slab[Known]
}

// NewView returns an empty view with room for n entities.
func NewView(n int) *View {
	return &View{Entities: make(map[Entity]*Known, n), Dead: make(map[Origin]Outcome), spare: newSlab[Known](n)}
}

// Add counts one more change of an entity and returns what is known about the entity,
// and whether it is new to the view. Views that are built with Add fold faster.
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

// Known is what a store knew about an entity. The zero value is an entity that never
// existed.
type Known struct {
	Row    Row
	Exists bool // it has a row in its table

	// Messages holds the messages that have moved the entity, at least those that are
	// in the batch.
	Messages MessageIDs

	// Steps holds the steps that were looked up in the history, by the version they led
	// to.
	Steps map[int64]PastStep

	// ByMessage holds, by message ID, all steps of those messages of the batch that are
	// in Messages with a different digest.
	ByMessage map[string][]PastStep

	// Entered is the version at which the entity entered the state of its row, and Rearmed
	// has the version at which a timer that was already armed was last replaced, by event.
	// Both are needed only for a Change with Armed. If another writer has changed the state,
	// Entered is any version up to that change and above the Armed of all timers from before
	// it.
	Entered int64
	Rearmed map[statemachine.Event]int64

	n       int // its number in the view, counted from 1; 0 if it has none
	changes int // how many changes the batch asks of it, to preallocate
}

// Number returns the entity's number in a view that was built with [View.Add], counted
// from 1. In other views it is 0.
func (k *Known) Number() int { return k.n }

// A Row is an entity's row. If Gone, the row was deleted, and State and Version are the
// last ones in the history.
type Row struct {
	State   statemachine.State
	Version int64
	Gone    bool

	// Data holds the columns that the machine's functions take, in the store's form; see
	// [RowCodec]. It is nil if there is no row, or the machine has no functions.
	Data any
}

// A PastStep is a step in the history: what made it.
type PastStep struct {
	Event     statemachine.Event
	MessageID string
	Origin    Origin
	Digest    Digest
}

// isOf reports whether a change of r made the step, given that the step has the
// change's message ID. It did if the step comes from the same record, whatever was
// decoded from it then, or if the message asked for the same.
func (s *PastStep) isOf(r *Record, change int) bool {
	return s.Origin.same(r.Origin) || s.Digest == r.Digest(change) || s.Digest == 0 && s.Event == r.Changes[change].Event
}

// isOwn reports whether a message ID is more than the record's origin. A copy of a
// topic changes the origins of its messages.
func isOwn(messageID string, at Origin) bool { return messageID != "" && messageID != at.ID() }

// Parked is a record that waits for an entity.
type Parked struct {
	Record *Record
	Entity Entity
	Reason Reason

	// Seen is the entity's version when the record was last judged.
	Seen int64

	// Definition is the version of the machine that last judged the record; 0 if it is
	// unknown.
	Definition int
}

// A Plan is the result of a fold: everything one transaction writes, and the verdicts
// that are true once it has committed.
type Plan struct {
	// Outcomes holds the outcomes of the records of the batch, in their order. If it is
	// shorter than the batch, the fold has stopped at a record whose entity has to be
	// read again first, because the database computes some of its columns.
	Outcomes []Outcome

	// Again holds the entities whose parked records must be judged next, with [Refold],
	// after the rows have been read again: the database computes some of their columns.
	// Then come the records of the batch that have no outcome.
	Again []Entity

	// Moves holds one move for each entity that moves.
	Moves []Move

	// Park holds the records to park, Repark the parked records that were judged again
	// and stay parked, Release the parked records that are settled.
	Park    []Parked
	Repark  []Parked
	Release []Settled

	// Dead holds the records to store as dead letters. Revive holds the dead letters to
	// remove: they were redriven, or can be decoded now, and got a better verdict.
	Dead   []Settled
	Revive []Settled

	// Refused holds the records of View.Refused that would have been applied, each with
	// the Seq of the step before it.
	Refused map[*Record]int
}

// A Move takes one entity's row from one version to a later one, in one write.
type Move struct {
	Entity Entity
	Create bool // insert the row: it does not exist yet
	From   Row  // the row that the UPDATE must find; zero if Create
	Steps  []Step

	known *Known
}

// Known returns what the view knew of the entity. It is nil if Fold has not made the move.
func (m *Move) Known() *Known { return m.known }

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
	Seq      int // its place among all steps of the plan, in the order in which they were decided

	// Data is the row's data before and after the step. It is nil if the machine has no
	// functions.
	Data *StepData

	// Outputs is what the step causes besides the timers that its state always arms; see
	// [Move.Timers]. nil means nothing.
	Outputs *Outputs
}

// StepData is a row's data around a step, in the store's form; see [RowCodec]. Both are
// the same if the transition has no action.
type StepData struct{ Before, After any }

// change returns the change that made the step.
func (s *Step) change() *Change { return &s.Record.Changes[s.Change] }

// past returns the step as the history will hold it.
func (s *Step) past() PastStep {
	return PastStep{s.Event, s.change().MessageID, s.Record.Origin, s.Digest()}
}

// Settled is a record and its outcome.
type Settled struct {
	Record  *Record
	Outcome Outcome
}
