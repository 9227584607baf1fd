package versioning

import (
	"slices"

	"github.com/pawl-go/pawl/statemachine"
)

// waiting is a parked record.
type waiting struct {
	Parked
	rank    int   // its place in the order of all parked records
	stored  bool  // it was parked before this batch
	at      []int // its indexes in the batch; two if it was redelivered in it
	outcome Outcome
	settled bool // no longer Early
}

func (f *folder) waitFromView(rank int, p Parked) {
	f.wait(&waiting{
		Parked: p, rank: rank, stored: true,
		outcome: Outcome{Verdict: Early, Reason: p.Reason, Entity: p.Entity},
	})
}

// waitFromBatch parks a record of the batch, or rejects it if too many records wait
// already.
func (f *folder) waitFromBatch(index int, r *Record, o Outcome) Outcome {
	e := f.entity(o.Entity)
	limit := e.rules.MaxParked
	if e.waitsForDeploy(o.Reason) {
		limit *= deployParked
	}
	if limit > 0 && len(e.waiting) >= limit {
		return o.is(Rejected, ReasonTooManyParked, "%d records already wait for the entity; this one: %s", limit, o.Detail)
	}
	f.wait(&waiting{
		Parked: Parked{Record: r, Seen: e.version, Definition: e.rules.Machine.Version()}, rank: len(f.view.Parked) + index, at: []int{index},
		outcome: o,
	})
	return o
}

// deployParked is how many times Rules.MaxParked records may wait for an entity until workers of
// another version are deployed, or until it is migrated. All its records wait then.
const deployParked = 100

// waitsForDeploy reports whether a record that is parked for a reason waits for a newer version
// of the machine, or until the entity is migrated.
func (e *entity) waitsForDeploy(r Reason) bool {
	isRetired := e.rules.Machine.Classify(e.state, statemachine.Migrated) == statemachine.Now
	isNewer := r == ReasonUnknownState && e.newer(func(n statemachine.Outline) bool { return n.Knows(e.state) }) > 0
	return r == ReasonNewerDefinition || r == ReasonBehindUnknown || isNewer || isRetired
}

// wait adds a record to those that wait for an entity.
func (f *folder) wait(w *waiting) {
	e := f.entity(w.outcome.Entity)
	at, _ := slices.BinarySearchFunc(e.waiting, w, func(a, b *waiting) int { return a.rank - b.rank })
	e.waiting = slices.Insert(e.waiting, at, w)
	f.waiting[w.Record.Origin] = w
}

// knows reports whether the fold has every machine that a record needs. It leaves other
// parked records to the workers that have all of their machines.
func (f *folder) knows(r *Record) bool {
	return !slices.ContainsFunc(r.Changes, func(c Change) bool {
		_, ok := f.rules[c.Machine]
		return !ok
	})
}

// wakeAll judges the records parked for the entities of r. It does so once per entity,
// before the first record of that entity: another worker may have moved the entity
// without seeing them.
func (f *folder) wakeAll(r *Record) {
	if len(f.view.Parked) == 0 || r.Err != nil {
		return
	}
	for i := range r.Changes {
		e := f.entity(r.Entity(i))
		if e == nil || e.woken {
			continue
		}
		e.woken = true
		f.wake([]*entity{e})
	}
}

// wake judges the records that wait for the moved entities again, then those that wait
// for the entities that moved as a result, until nothing moves.
func (f *folder) wake(moved []*entity) {
	if len(f.waiting) == 0 {
		return
	}
	queue := slices.Clone(moved)
	for len(queue) > 0 {
		if f.release(queue[0]) {
			queue = append(queue, f.trail...)
			continue
		}
		queue = queue[1:]
	}
}

// release judges the records that wait for an entity, in the order of their rank, until
// one of them moves something. It then returns true, with the moved entities in
// f.trail, because the caller must start over.
func (f *folder) release(e *entity) (moved bool) {
	if e.isStale() {
		f.readBack(e)
		return false
	}
	list := e.waiting
	e.waiting = nil
	for i, w := range list {
		if w.upToDate(e) {
			e.waiting = append(e.waiting, w)
			continue
		}
		if first := f.outdatedBefore(w, e); first != nil {
			e.waiting = append(e.waiting, list[i:]...)
			f.wake([]*entity{first})
			if f.outdatedBefore(w, e) == first { // its row must be read again first
				f.readBack(e)
				return false
			}
			f.trail = f.trail[:0]
			return true
		}
		if f.touchesStale(w.Record) {
			e.waiting = append(e.waiting, list[i:]...)
			f.readBack(e)
			return false
		}
		w.outcome = f.try(w.Record)
		if w.outcome.Verdict == Early {
			on := f.entity(w.outcome.Entity)
			w.Seen, w.Definition = on.version, on.rules.Machine.Version()
			f.wait(w)
			continue
		}
		f.settle(w)
		if w.outcome.Verdict == Applied {
			e.waiting = append(e.waiting, list[i+1:]...) // these all have a higher rank
			return true
		}
	}
	return false
}

// upToDate reports whether a record that waits for e need not be judged before e moves.
// A record with several entities must not be judged: its verdict would depend on what
// another entity has become meanwhile, and so on where the batch begins. That does not hold
// if another version of the machine judged the record.
func (w *waiting) upToDate(e *entity) bool {
	knownNow := w.outcome.Reason == ReasonUnknownState && e.rules.Machine.Has(e.state)
	if w.isForeign(e) || w.isFree(e) || w.Seen != e.version || w.Record.Err != nil || w.Record.Unfit != nil || knownNow {
		return false
	}
	return slices.ContainsFunc(w.Record.Changes, func(c Change) bool { return Entity{c.Machine, c.Key} != e.name })
}

// isForeign reports whether another version of the machine has judged a record that waits for
// e, or the same version when it knew of a newer one that was withdrawn since.
func (w *waiting) isForeign(e *entity) bool {
	return w.stored && (w.Definition != e.rules.Machine.Version() || w.outcome.Reason == ReasonNewerDefinition && len(e.rules.Newer) == 0)
}

// isFree reports whether a record waited for e behind one with an unknown event, which waits no more.
func (w *waiting) isFree(e *entity) bool {
	return w.outcome.Reason == ReasonBehindUnknown && !e.waits(ReasonUnknownEvent)
}

// outdatedBefore returns an entity of a record that waits for e, other than e, for which an
// earlier record waits that may be legal now: it was judged before its entity moved, or by another
// version of the machine. This record must not overtake that one.
func (f *folder) outdatedBefore(w *waiting, e *entity) *entity {
	if len(w.Record.Changes) < 2 {
		return nil
	}
	for _, c := range w.Record.Changes {
		other := f.entity(Entity{c.Machine, c.Key})
		isOutdated := func(x *waiting) bool {
			return x.rank < w.rank && (x.Seen != other.version || x.isForeign(other) || x.isFree(other))
		}
		if other != nil && other != e && slices.ContainsFunc(other.waiting, isOutdated) {
			return other
		}
	}
	return nil
}

// settle records the final verdict of a parked record.
func (f *folder) settle(w *waiting) {
	w.settled = true
	for _, i := range w.at {
		f.plan.Outcomes[i] = w.outcome
	}
	if w.stored {
		f.plan.Release = append(f.plan.Release, Settled{w.Record, w.outcome})
	}
	if w.outcome.DeadLettered() {
		f.deadLetter(w.Record, w.outcome)
	}
}

// stillWaiting adds the records that remain parked to the plan, in their order, if
// there is something to write about them.
func (f *folder) stillWaiting() {
	var left []*waiting
	for _, e := range f.order {
		left = append(left, e.waiting...)
	}
	slices.SortFunc(left, func(a, b *waiting) int { return a.rank - b.rank })
	for _, w := range left {
		w.Entity, w.Reason = w.outcome.Entity, w.outcome.Reason
		for _, i := range w.at {
			f.plan.Outcomes[i] = w.outcome // the reason may have changed
		}
		switch {
		case !w.stored:
			f.plan.Park = append(f.plan.Park, w.Parked)
		case w.Parked != f.view.Parked[w.rank]:
			f.plan.Repark = append(f.plan.Repark, w.Parked)
		}
	}
}
