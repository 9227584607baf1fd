package versioning

import (
	"fmt"
	"math"
	"slices"

	"github.com/pawl-go/pawl/statemachine"
)

// judge decides one change of a record against the current state of its entity, which
// is nil if the machine is unknown. If the verdict is Applied, judge returns what the step
// makes of the entity. It calls the transition's functions only if all previous changes of
// the record could be made, so they see only rows that the entity really has. If one of
// several branches would be taken without that, the state after it is unknown; then only
// the past decides the record's later changes of the entity.
func (e *entity) judge(r *Record, change int, call bool) (Outcome, computed) {
	c := &r.Changes[change]
	o := Outcome{Entity: Entity{c.Machine, c.Key}, Event: c.Event}
	if e == nil {
		return o.is(Rejected, ReasonUnknownMachine, "the store has no table for machine %q", c.Machine), computed{}
	}
	if proof := e.past(r, change, o); proof.Verdict != Undecided {
		return proof, computed{}
	}
	if c.Armed > 0 && e.isVoid(c) {
		o.Verdict = Ignored
		return o, computed{}
	}
	if e.guessed {
		o.Verdict = Ignored // judged when the changes before it can be made
		return o, computed{}
	}
	if bar := e.barred(r, c, o); bar.Verdict != Undecided {
		return bar, computed{}
	}
	to, legal := e.rules.Machine.Fire(e.state, c.Event)
	if !legal {
		return e.notNow(c, o), computed{}
	}
	var branches []statemachine.Branch
	if e.rules.Functions != nil { // other machines need no second lookup
		branches = e.rules.Machine.Branches(e.state, c.Event)
	}
	if call && branches != nil {
		if e.isStale() { // only steps of this record can have made it so
			return o.is(Rejected, ReasonInvalidData,
				"the record changes the entity twice, but the database computes columns of its row, which are not known in between; send two records"), computed{}
		}
		return e.compute(r, change, branches, o)
	}
	e.guessed = len(branches) > 1
	o.Verdict = Applied
	return o, computed{to: to, data: e.data}
}

// past decides what the entity's past proves: that the change has already taken effect,
// or that another event took its version. It comes first, and also holds for entities
// whose row is gone and for events that the machine no longer has. If the past proves
// nothing, past returns an undecided outcome.
func (e *entity) past(r *Record, change int, o Outcome) Outcome {
	c := &r.Changes[change]
	expected, versioned := c.Expected.Version()
	switch {
	case versioned && expected < e.version:
		return e.leftBehind(r, change, expected+1, o)
	case versioned:
		// The change is at the entity's version, or ahead of it.
	case c.Armed > 0:
		return e.byMessage(r, change, o) // whatever the machine's identity is: stores choose the ID
	case e.rules.Identity == ByState:
		if e.rules.Machine.Classify(e.state, c.Event) == statemachine.Behind {
			o.Verdict = Duplicate
			return o
		}
	case e.rules.Identity == ByMessage:
		return e.byMessage(r, change, o)
	}
	return Outcome{}
}

// barred rejects or parks a new change that cannot be made now, whatever the entity's
// state. If the state decides, it returns an undecided outcome.
func (e *entity) barred(r *Record, c *Change, o Outcome) Outcome {
	expected, versioned := c.Expected.Version()
	if e.waits(ReasonNewerDefinition) && len(e.rules.Newer) > 0 {
		return o.is(Early, ReasonNewerDefinition, "a record before it waits for a newer definition of machine %q", c.Machine)
	}
	if e.waits(ReasonUnknownEvent) {
		return o.is(Early, ReasonBehindUnknown, "a record before it has an event that machine %q does not have", c.Machine)
	}
	isMigration := c.Event == statemachine.Migrated && r.Direct
	switch {
	case !e.rules.Machine.HasEvent(c.Event) && !isMigration:
		return e.unknownEvent(r, c, o)
	case !versioned && c.Armed == 0 && e.rules.Identity == ByVersion && !isMigration:
		return o.is(Rejected, ReasonNoVersion,
			"machine %q identifies changes by version, but the change has no expected version", c.Machine)
	case e.Row.Gone:
		return o.is(Rejected, ReasonEntityGone, "the row was deleted; its history ends in state %q at version %d", e.state, e.version)
	case versioned && expected > e.version:
		return o.is(Early, ReasonVersionAhead, "expects version %d, but the entity is at version %d", expected, e.version)
	case e.version == math.MaxInt64:
		return o.is(Rejected, ReasonConstraint, "there is no version after %d", e.version)
	}
	return Outcome{}
}

// waits reports whether a record waits for the entity for a reason, one of those that the entity's
// later records must not overtake.
func (e *entity) waits(reason Reason) bool {
	return slices.ContainsFunc(e.waiting, func(w *waiting) bool { return w.outcome.Reason == reason })
}

// newer returns the version of the oldest newer definition for which holds is true, or 0.
func (e *entity) newer(holds func(statemachine.Outline) bool) int {
	for _, outline := range e.rules.Newer {
		if holds(outline) {
			return outline.Version
		}
	}
	return 0
}

func (e *entity) unknownEvent(r *Record, c *Change, o Outcome) Outcome {
	if version := e.newer(func(n statemachine.Outline) bool { return n.Takes(c.Event) }); version > 0 {
		return o.is(Early, ReasonNewerDefinition, "version %d of machine %q has event %q, and this worker has version %d",
			version, c.Machine, c.Event, e.rules.Machine.Version())
	}
	if c.Armed > 0 && e.rules.Machine.Classify(e.state, statemachine.Migrated) == statemachine.Now {
		return o.is(Early, ReasonNotYet, "an older version of machine %q has set the timer, and the entity must be migrated out of state %q", c.Machine, e.state)
	}
	hint := ""
	if near := e.rules.Machine.NearestEvent(c.Event); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	verdict := Rejected
	if e.rules.KeepUnknown && c.Armed == 0 && !r.Direct && !r.Redrive {
		verdict = Early
	}
	return o.is(verdict, ReasonUnknownEvent, "machine %q version %d has no event %q%s",
		c.Machine, e.rules.Machine.Version(), c.Event, hint)
}

// byMessage decides whether the change's message has already moved the entity. An ID
// that another message has used proves nothing. If the ID is new, byMessage returns an
// undecided outcome.
func (e *entity) byMessage(r *Record, change int, o Outcome) Outcome {
	c := &r.Changes[change]
	for _, id := range c.MessageIDs() {
		if !e.Messages.Has(id) && !e.taken.Has(id) {
			continue
		}
		other, same := e.stepBy(id, r, change)
		switch {
		case same:
			o.Verdict = Duplicate
			return o
		case id == c.MessageID:
			return o.is(Diverged, ReasonMessageTaken,
				"message ID %q was already used by a different message, %s, which moved the entity by %q; this one asks for %q, or sets other columns",
				id, other.Origin, other.Event, c.Event)
		}
	}
	return Outcome{}
}

// stepBy returns a step made by a message with the given ID, and whether this change
// made it. It skips steps that the record itself has made in this fold.
func (e *entity) stepBy(id string, r *Record, change int) (step PastStep, same bool) {
	if digest := r.Digest(change); e.Messages.Asked(id, digest) || e.taken.Asked(id, digest) {
		return step, true
	}
	for _, step = range e.ByMessage[id] {
		if step.isOf(r, change) {
			return step, true
		}
	}
	for i := range e.steps {
		if made := &e.steps[i]; made.Record != r && made.change().MessageID == id {
			if step = made.past(); step.isOf(r, change) {
				return step, true
			}
		}
	}
	return step, false
}

// leftBehind judges a change whose expected version is in the past. It compares the
// event of the step that followed that version, and the message if both have an ID
// other than their origin: two messages that expect the same version are different
// messages, even if they say the same.
func (e *entity) leftBehind(r *Record, change int, version int64, o Outcome) Outcome {
	c := &r.Changes[change]
	step, ok := e.stepTo(version)
	if !ok {
		step, ok = e.Steps[version]
	}
	switch {
	case !ok:
		return o.is(Diverged, ReasonHistoryMissing,
			"expects version %d, but the entity is at version %d, and the history has no step to version %d", version-1, e.version, version)
	case step.Event != c.Event:
		return o.is(Diverged, ReasonVersionTaken, "version %d was made by %q, not by %q", version, step.Event, c.Event)
	case e.rules.Identity != ByVersion && isOwn(c.MessageID, r.Origin) && isOwn(step.MessageID, step.Origin) &&
		(!slices.Contains(c.MessageIDs(), step.MessageID) || !step.isOf(r, change)):
		return o.is(Diverged, ReasonVersionTaken, "version %d was made by %q of a different message, %q from %s",
			version, step.Event, step.MessageID, step.Origin)
	}
	if (r.Direct || r.IsDelivery()) && !step.isOf(r, change) { // of another caller, who expected the same version
		return o.is(Diverged, ReasonVersionTaken, "version %d was made by another %q, which set other columns or had other data", version, step.Event)
	}
	o.Verdict = Duplicate
	return o
}

// stepTo returns the step of this fold that led to a version.
func (e *entity) stepTo(version int64) (PastStep, bool) {
	i := version - e.Row.Version - 1
	if i < 0 || i >= int64(len(e.steps)) {
		return PastStep{}, false
	}
	return e.steps[i].past(), true
}

// notNow judges an event that is not legal in the entity's state.
func (e *entity) notNow(c *Change, o Outcome) Outcome {
	_, versioned := c.Expected.Version()
	class := e.rules.Machine.Classify(e.state, c.Event)
	if class != statemachine.Later && class != statemachine.Unknown || versioned && class != statemachine.Unknown {
		if version := e.newer(func(n statemachine.Outline) bool { return n.Leads(e.state, c.Event) }); version > 0 {
			return o.is(Early, ReasonNewerDefinition, "%q is legal in state %q in version %d of machine %q, and this worker has version %d",
				c.Event, e.state, version, c.Machine, e.rules.Machine.Version())
		}
	}
	switch {
	case class == statemachine.Unknown:
		return o.is(Early, ReasonUnknownState, "the row's state %q is unknown to machine %q version %d",
			e.state, c.Machine, e.rules.Machine.Version())
	case versioned:
		return o.is(Rejected, ReasonIllegal, "%q is not legal in state %q at the expected version %d",
			c.Event, e.state, e.version)
	case class == statemachine.Later && e.version == 0 && !e.Exists:
		return o.is(Early, ReasonNoEntity, "the entity does not exist yet")
	case class == statemachine.Later:
		return o.is(Early, ReasonNotYet, "%q is not legal in state %q, but may be in a later state", c.Event, e.state)
	}
	return o.is(Rejected, ReasonIllegal, "%q is not legal in state %q, nor in any later state", c.Event, e.state)
}

func (o Outcome) is(v Verdict, reason Reason, format string, args ...any) Outcome {
	o.Verdict, o.Reason, o.Detail = v, reason, fmt.Errorf(format, args...).Error()
	return o
}
