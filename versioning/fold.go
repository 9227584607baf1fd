package versioning

import (
	"fmt"
	"slices"
)

// Fold decides what a batch of records does to the entities of a view. It does no I/O:
// the same arguments give the same plan.
//
// Fold judges the records one after another, each against the entities as the previous
// records left them. So several steps of one entity chain in memory. When a record
// moves an entity, Fold judges the records parked for that entity again, in the order
// in which they were parked, until none of them moves anything. Parked records come
// before the next record of the batch, so the verdicts do not depend on where batches
// begin and end.
//
// Each Change must have its machine and message ID, as [Prepare] sets them. Fold panics if
// the rules of a machine with functions have no [Functions].
func Fold(rules map[string]Rules, view *View, records []*Record) *Plan {
	f := newFolder(rules, view, len(records))
	for i, r := range records {
		outcome, ok := f.record(i, r)
		if !ok {
			f.plan.Outcomes = f.plan.Outcomes[:i]
			break
		}
		f.plan.Outcomes[i] = outcome
		if len(f.plan.Again) > 0 { // they come before the next record
			f.plan.Outcomes = f.plan.Outcomes[:i+1]
			break
		}
	}
	f.revive(records[:len(f.plan.Outcomes)])
	return f.finish()
}

// Refold judges the parked records of a view again, as Fold does after a record that
// moved their entity. It decides nothing else.
func Refold(rules map[string]Rules, view *View) *Plan {
	f := newFolder(rules, view, 0)
	f.wake(f.order)
	return f.finish()
}

// A folder holds the state of one Fold.
type folder struct {
	rules    map[string]*Rules
	view     *View
	last     *entity            // the one that was asked for last
	numbered []entity           // the entities that the view has numbered
	others   map[Entity]*entity // the rest
	order    []*entity          // in the order in which they were first used
	waiting  map[Origin]*waiting
	dead     map[Origin]Outcome // the dead letters of this fold
	trail    []*entity          // the entities of the steps that the current record has made so far
	plan     *Plan

	readsBack bool // some machine's rows have values that the database computes

	seq int // the number of steps, including undone ones

	spareSteps slab[Step]
	spareData  slab[StepData]
	spareIDs   slab[Message]
}

func newFolder(rules map[string]Rules, view *View, records int) *folder {
	f := &folder{
		rules:    make(map[string]*Rules, len(rules)),
		view:     view,
		numbered: make([]entity, len(view.Entities)),
		others:   make(map[Entity]*entity),
		order:    make([]*entity, 0, len(view.Entities)),
		waiting:  make(map[Origin]*waiting, len(view.Parked)),
		dead:     make(map[Origin]Outcome),
		plan:     &Plan{Outcomes: make([]Outcome, records)},

		spareSteps: newSlab[Step](records),
		spareIDs:   newSlab[Message](records),
	}
	for name, r := range rules {
		f.rules[name] = &r
		if r.Functions == nil && r.Machine.RowType() != nil {
			panic(fmt.Sprintf("versioning: the rules of machine %q have no Functions; see NewFunctions", name))
		}
		f.readsBack = f.readsBack || r.Functions != nil && r.Functions.rows.ReadsBack(true, nil)
	}
	if len(view.Refused) > 0 {
		f.plan.Refused = make(map[*Record]int, len(view.Refused))
	}
	for rank, p := range view.Parked {
		if f.knows(p.Record) {
			f.waitFromView(rank, p)
		}
	}
	return f
}

// record decides one record of the batch. ok is false if one of its entities has to be
// read again first.
func (f *folder) record(index int, r *Record) (o Outcome, ok bool) {
	dead, isDead := f.view.Dead[r.Origin]
	switch {
	case r.Redrive && !isDead:
		return Outcome{Verdict: Ignored}, true // another worker has redriven it
	case isDead && !revives(r, dead):
		return dead, true
	case r.Err == nil && len(r.Changes) == 0:
		return Outcome{Verdict: Ignored}, true
	}
	f.wakeAll(r)
	if len(f.plan.Again) > 0 {
		return Outcome{}, false
	}
	if dead, ok := f.dead[r.Origin]; ok {
		return dead, true // delivered twice in this batch
	}
	if w, ok := f.waiting[r.Origin]; ok && !w.settled {
		w.at = append(w.at, index)
		return w.outcome, true // redelivered while it is parked
	}
	if r.Err == nil && f.touchesStale(r) {
		return Outcome{}, false
	}
	return f.decide(index, r), true
}

// decide decides a record that is neither parked nor a dead letter, or is being
// redriven.
func (f *folder) decide(index int, r *Record) Outcome {
	outcome := f.try(r)
	if outcome.Verdict == Early && !r.Direct {
		outcome = f.waitFromBatch(index, r, outcome)
	}
	if outcome.Verdict == Applied {
		f.wake(f.trail)
	}
	if outcome.DeadLettered() && !r.Direct {
		f.deadLetter(r, outcome)
	}
	return outcome
}

func (f *folder) deadLetter(r *Record, o Outcome) {
	f.dead[r.Origin] = o
	f.plan.Dead = append(f.plan.Dead, Settled{r, o})
}

// revives reports whether to judge a dead letter again: it is being redriven, or it
// could not be decoded before and can be now.
func revives(r *Record, dead Outcome) bool {
	return r.Redrive || dead.Reason == ReasonUndecodable && r.Err == nil
}

// revive adds to the plan those dead letters of the batch that got a better verdict.
func (f *folder) revive(records []*Record) {
	if len(f.view.Dead) == 0 {
		return
	}
	seen := make(map[Origin]bool)
	for i, r := range records {
		dead, isDead := f.view.Dead[r.Origin]
		if isDead && revives(r, dead) && !f.plan.Outcomes[i].DeadLettered() && !seen[r.Origin] {
			seen[r.Origin] = true
			f.plan.Revive = append(f.plan.Revive, Settled{r, f.plan.Outcomes[i]})
		}
	}
}

// try judges every change of a record. It makes all of them (duplicates aside) or none,
// and leaves the entities that it moved in f.trail.
func (f *folder) try(r *Record) Outcome {
	f.trail = f.trail[:0]
	if r.Err != nil {
		return rejection(r, r.Err)
	}
	worst := Outcome{Verdict: Ignored}
	for i := range r.Changes {
		e := f.entity(r.Entity(i))
		outcome, made := e.judge(r, i, worst.Verdict <= Applied && r.Unfit == nil)
		if outcome.Verdict == Applied {
			f.step(e, r, i, made)
		}
		if outcome.Verdict > worst.Verdict {
			worst = outcome
		}
	}
	if r.Unfit != nil && (worst.Verdict == Applied || worst.Verdict == Early) {
		f.undo()
		return rejection(r, r.Unfit)
	}
	if worst.Verdict > Applied {
		f.undo()
		return worst
	}
	if err, ok := f.view.Refused[r]; ok && worst.Verdict == Applied {
		f.undo()
		f.plan.Refused[r] = f.seq
		return rejection(r, &Refusal{ReasonConstraint, err})
	}
	for _, e := range f.trail {
		for i := len(e.steps) - 1; i >= 0 && e.steps[i].Record == r; i-- {
			e.taken.Add(e.steps[i].change().MessageID, e.steps[i].Digest())
		}
	}
	return worst
}

func (f *folder) step(e *entity, r *Record, change int, made computed) {
	e.version++
	f.seq++
	step := Step{
		Event: r.Changes[change].Event, From: e.state, To: made.to, Version: e.version, Record: r, Change: change, Seq: f.seq,
		Outputs: made.outputs,
	}
	if e.rules.Functions != nil {
		step.Data = f.spareData.next()
		*step.Data = StepData{e.data, made.data}
	}
	e.steps = append(e.steps, step)
	e.state, e.data = made.to, made.data
	f.trail = append(f.trail, e)
}

// undo reverts the steps of the current record, the last one first.
func (f *folder) undo() {
	for _, e := range slices.Backward(f.trail) {
		last := len(e.steps) - 1
		e.state = e.steps[last].From
		if data := e.steps[last].Data; data != nil {
			e.data = data.Before
		}
		e.version--
		e.guessed = false
		e.steps = e.steps[:last]
	}
	f.trail = f.trail[:0]
}

// finish adds the moves and the parked records to the plan.
func (f *folder) finish() *Plan {
	moves := make([]Move, 0, len(f.order))
	for _, e := range f.order {
		if len(e.steps) > 0 {
			moves = append(moves, Move{Entity: e.name, Create: !e.Exists, From: e.Row, Steps: e.steps, known: e.Known})
		}
	}
	f.plan.Moves = moves
	f.stillWaiting()
	return f.plan
}
