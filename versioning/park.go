package versioning

import "slices"

// waiting is a parked record.
type waiting struct {
	Parked
	rank    int   // its place among all parked records: earlier ones go first
	stored  bool  // it was parked before this batch
	at      []int // where it is in the batch; twice if it is delivered again
	outcome Outcome
	settled bool // no longer Early
}

func (f *folder) waitFromView(rank int, p Parked) {
	f.wait(&waiting{
		Parked: p, rank: rank, stored: true,
		outcome: Outcome{Verdict: Early, Reason: p.Reason, Entity: p.Entity},
	})
}

// waitFromBatch parks a record of the batch, unless too many wait already.
func (f *folder) waitFromBatch(index int, r *Record, o Outcome) Outcome {
	e := f.entity(o.Entity)
	if limit := e.rules.MaxParked; limit > 0 && len(e.waiting) >= limit {
		return o.is(Rejected, ReasonTooManyParked, "%d records wait for the entity already; this one: %s", limit, o.Detail)
	}
	f.wait(&waiting{
		Parked: Parked{Record: r, Seen: e.version}, rank: len(f.view.Parked) + index, at: []int{index},
		outcome: o,
	})
	return o
}

// wait lets a record wait for the entity that holds it up.
func (f *folder) wait(w *waiting) {
	e := f.entity(w.outcome.Entity)
	at, _ := slices.BinarySearchFunc(e.waiting, w, func(a, b *waiting) int { return a.rank - b.rank })
	e.waiting = slices.Insert(e.waiting, at, w)
	f.waiting[w.Record.Origin] = w
}

// knows reports whether the fold has every machine that a record needs. A
// parked record that it does not is left to the workers that have them all.
func (f *folder) knows(r *Record) bool {
	return !slices.ContainsFunc(r.Changes, func(c Change) bool {
		_, ok := f.rules[c.Machine]
		return !ok
	})
}

// wakeAll judges the records parked for a record's entities, once for each
// entity of the batch, before that entity's first record: another worker may
// have moved the entity without having seen them.
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

// wake judges the records that wait for entities again, and those that wait for
// the entities which move thereby, until nothing moves.
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

// release judges the records that wait for an entity, in the order of their
// rank, until one of them has moved something: then what moved is left in
// f.trail and release returns true, for the order starts again.
func (f *folder) release(e *entity) (moved bool) {
	list := e.waiting
	e.waiting = nil
	for i, w := range list {
		if w.upToDate(e) {
			e.waiting = append(e.waiting, w)
			continue
		}
		w.outcome = f.try(w.Record)
		if w.outcome.Verdict == Early {
			w.Seen = f.entity(w.outcome.Entity).version
			f.wait(w)
			continue
		}
		f.settle(w)
		if w.outcome.Verdict == Applied {
			e.waiting = append(e.waiting, list[i+1:]...) // all of a higher rank
			return true
		}
	}
	return false
}

// upToDate reports whether a record that waits for e need not be judged before
// e moves. One that asks for several entities must not be: it would get a
// verdict for what another one has become meanwhile, at a time that depends on
// where a batch begins. A state that is known by now was not to the version of
// the machine that judged the record last.
func (w *waiting) upToDate(e *entity) bool {
	knownByNow := w.outcome.Reason == ReasonUnknownState && e.rules.Machine.Has(e.state)
	if w.Seen != e.version || w.Record.Err != nil || w.Record.Unfit != nil || knownByNow {
		return false
	}
	return slices.ContainsFunc(w.Record.Changes, func(c Change) bool { return Entity{c.Machine, c.Key} != e.name })
}

// settle ends the waiting of a record that has its last verdict.
func (f *folder) settle(w *waiting) {
	w.settled = true
	for _, i := range w.at {
		f.plan.Outcomes[i] = w.outcome
	}
	if w.stored {
		f.plan.Release = append(f.plan.Release, Settled{w.Record, w.outcome})
	}
	if w.outcome.DeadLettered() {
		f.bury(w.Record, w.outcome)
	}
}

// stillWaiting puts the records that wait on into the plan, in their order,
// where there is something to write about them.
func (f *folder) stillWaiting() {
	var left []*waiting
	for _, e := range f.order {
		left = append(left, e.waiting...)
	}
	slices.SortFunc(left, func(a, b *waiting) int { return a.rank - b.rank })
	for _, w := range left {
		w.Entity, w.Reason = w.outcome.Entity, w.outcome.Reason
		for _, i := range w.at {
			f.plan.Outcomes[i] = w.outcome // its reason may be another by now
		}
		switch {
		case !w.stored:
			f.plan.Park = append(f.plan.Park, w.Parked)
		case w.Parked != f.view.Parked[w.rank]:
			f.plan.Repark = append(f.plan.Repark, w.Parked)
		}
	}
}
