package versioning

import "slices"

// waiting is a parked record.
type waiting struct {
	Parked
	rank    int // its place among all parked records: earlier ones go first
	index   int // in the batch; -1 if it was parked before
	outcome Outcome
	judged  bool // by this fold
	settled bool // no longer Early
}

func (f *folder) waitFromView(rank int, p Parked) {
	f.wait(&waiting{
		Parked: p, rank: rank, index: -1,
		outcome: Outcome{Verdict: Early, Reason: p.Reason, Entity: p.Entity},
	})
}

func (f *folder) waitFromBatch(index int, r *Record, o Outcome) {
	f.wait(&waiting{
		Parked: Parked{Record: r}, rank: len(f.view.Parked) + index, index: index,
		outcome: o, judged: true,
	})
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
		e := f.entity(Entity{r.Changes[i].Machine, r.Changes[i].Key})
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
		w.outcome, w.judged = f.try(w.Record), true
		if w.outcome.Verdict == Early {
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

// settle ends the waiting of a record that has its last verdict.
func (f *folder) settle(w *waiting) {
	w.settled = true
	if w.index >= 0 {
		f.plan.Outcomes[w.index] = w.outcome
	} else {
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
		e := f.entities[w.outcome.Entity]
		now := Parked{Record: w.Record, Entity: e.name, Reason: w.outcome.Reason, Seen: e.version, seq: w.seq}
		switch {
		case w.index >= 0 && !w.Record.parked:
			f.plan.Park = append(f.plan.Park, now)
		case w.judged && now != w.Parked:
			f.plan.Repark = append(f.plan.Repark, now)
		}
	}
}
