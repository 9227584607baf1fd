package postgres

import (
	"slices"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Redecoded counts records that have made steps of the history, and that are decoded to something
// else now.
type Redecoded struct {
	Records int64

	// Samples are the first hundred of them.
	Samples []Redecoding
}

const maxRedecoded = 100

// A Redecoding is a record that is decoded to something else than when it was applied.
type Redecoding struct {
	Record  *versioning.Record // as it is decoded now
	Outcome versioning.Outcome // of judging it now
	Then    Decoded            // the step that it has made

	// Now is what the record asks for instead of that step. It is nil if the record asks for nothing
	// instead: for nothing at all, or only for its other steps, or if it can't be decoded.
	Now *Decoded
}

// Decoded is what one change of a record asks for. The columns that it sets and its data are only
// in the digest.
type Decoded struct {
	Entity    versioning.Entity
	Event     statemachine.Event
	MessageID string
	Digest    versioning.Digest // 0 if it is unknown
}

// SameColumns reports whether two changes with the same event set the same columns and have the
// same data. A step whose digest is unknown counts as the same.
func (d Decoded) SameColumns(other Decoded) bool {
	return d.Digest == other.Digest || d.Digest == 0 || other.Digest == 0
}

func decodedAs(r *versioning.Record, change int) Decoded {
	c := &r.Changes[change]
	return Decoded{r.Entity(change), c.Event, c.MessageID, r.Digest(change)}
}

// isOf reports whether a change of r asks for the step.
func (d Decoded) isOf(r *versioning.Record, change int) bool {
	now := decodedAs(r, change)
	return d.Entity == now.Entity && d.Event == now.Event && d.SameColumns(now) && slices.Contains(r.Changes[change].MessageIDs(), d.MessageID)
}

// likeness says how similar two changes are.
func (d Decoded) likeness(other Decoded) (n int) {
	for _, same := range []bool{d.Entity == other.Entity, d.Event == other.Event, d.MessageID == other.MessageID} {
		if same {
			n++
		}
	}
	return n
}

// noteRedecoded notes the duplicates that are decoded to something else than when they were
// applied, and keeps the others for [Rehearsal.LookUpOrigins].
func (h *Rehearsal) noteRedecoded(view *versioning.View, records []*versioning.Record, plan *versioning.Plan) {
	for i, o := range plan.Outcomes {
		if o.Verdict != versioning.Duplicate {
			h.suspect(records[i], o)
		} else if then, now, ok := redecoding(view, records[i]); ok {
			h.redrawn.add(Redecoding{records[i], o, then, now})
		}
	}
}

func (d *Redecoded) add(r Redecoding) {
	d.Records++
	if len(d.Samples) < maxRedecoded {
		d.Samples = append(d.Samples, r)
	}
}

// redecoding returns a step of a duplicate that is in the history with another digest.
func redecoding(view *versioning.View, r *versioning.Record) (then Decoded, now *Decoded, ok bool) {
	var steps []Decoded
	for i := range r.Changes {
		k := view.Entities[r.Entity(i)]
		if k == nil || len(k.ByMessage) == 0 {
			continue
		}
		for _, step := range k.ByMessage[r.Changes[i].MessageID] {
			if step.Origin == r.Origin {
				steps = append(steps, Decoded{r.Entity(i), step.Event, step.MessageID, step.Digest})
			}
		}
	}
	return changed(r, steps)
}

// maxSuspects limits the records of each verdict whose origins are looked up.
const maxSuspects = 10_000

// suspect keeps a record that is no duplicate: it may have made a step of another entity, or under
// another message ID, which only its origin shows.
func (h *Rehearsal) suspect(r *versioning.Record, o versioning.Outcome) {
	if h.suspects == nil {
		h.suspects = make(map[versioning.Verdict][]versioning.Settled)
	}
	if len(h.suspects[o.Verdict]) >= maxSuspects {
		return
	}
	kept := versioning.Record{Origin: r.Origin, Changes: make([]versioning.Change, len(r.Changes)), Digests: make([]versioning.Digest, len(r.Changes)), Err: r.Err}
	for i, c := range r.Changes { // without what may be large
		kept.Changes[i] = versioning.Change{Machine: c.Machine, Key: c.Key, Event: c.Event, MessageID: c.MessageID, FormerID: c.FormerID}
		kept.Digests[i] = r.Digest(i)
	}
	h.suspects[o.Verdict] = append(h.suspects[o.Verdict], versioning.Settled{Record: &kept, Outcome: o})
	h.search = nil // it does not know this one
}

// changed returns the first step of a record that it does not ask for now, and what it asks for
// instead: of the changes that have made no step, the most similar one.
func changed(r *versioning.Record, steps []Decoded) (then Decoded, now *Decoded, ok bool) {
	isNew := func(change int) bool {
		return !slices.ContainsFunc(steps, func(d Decoded) bool { return d.isOf(r, change) })
	}
	for _, d := range steps {
		found := false
		for i := range r.Changes {
			found = found || d.isOf(r, i)
		}
		if found {
			continue
		}
		for i := range r.Changes {
			if c := decodedAs(r, i); isNew(i) && (now == nil || d.likeness(c) > d.likeness(*now)) {
				now = &c
			}
		}
		return d, now, true
	}
	return Decoded{}, nil, false
}
