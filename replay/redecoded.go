package replay

import (
	"context"
	"fmt"
	"strings"

	"github.com/pawl-go/pawl/versioning/postgres"
)

// A Redecoding is a record that is decoded to something else than when it was applied. If several
// of its changes differ, it is about the first one.
type Redecoding struct {
	Sample

	// Differs says what is different.
	Differs []RedecodedKind `json:"differs"`

	// Then is what the record asked for when it was applied, and Now what it asks for instead. Now
	// is nil if it asks for nothing instead: it asks for nothing at all, only for its other steps, or
	// it can't be decoded: see Sample.Detail.
	Then Decoded  `json:"then"`
	Now  *Decoded `json:"now,omitempty"`
}

// A RedecodedKind says in which way a record is decoded to something else.
type RedecodedKind string

// The ways in which a record is decoded to something else.
const (
	OtherEntity    RedecodedKind = "entity"
	OtherEvent     RedecodedKind = "event"
	OtherMessageID RedecodedKind = "message ID"

	// OtherColumns: the columns that it sets or its data. The history keeps a digest of these and
	// the event, so this is known only if the event is the same.
	OtherColumns RedecodedKind = "columns"

	// Nothing: it asks for nothing instead of this step; see Redecoding.Now.
	Nothing RedecodedKind = "nothing"
)

// Decoded is what a record asked for.
type Decoded struct {
	Machine   string `json:"machine"`
	Entity    string `json:"entity"`
	Event     string `json:"event"`
	MessageID string `json:"message_id"`

	// Digest is a hash of the event, the columns and the data, in hexadecimal; empty if it is
	// unknown.
	Digest string `json:"digest,omitempty"`
}

func decoded(d postgres.Decoded) Decoded {
	out := Decoded{Machine: d.Entity.Machine, Entity: d.Entity.Key, Event: string(d.Event), MessageID: d.MessageID}
	if d.Digest != 0 {
		out.Digest = fmt.Sprintf("%016x", uint64(d.Digest))
	}
	return out
}

func redecoded(r postgres.Redecoding) Redecoding {
	out := Redecoding{Sample: sampleOf(r.Record, r.Outcome), Then: decoded(r.Then)}
	if r.Now == nil {
		out.Differs = []RedecodedKind{Nothing}
		return out
	}
	out.Now = new(decoded(*r.Now))
	for _, is := range []struct {
		other bool
		what  RedecodedKind
	}{
		{r.Then.Entity != r.Now.Entity, OtherEntity},
		{r.Then.Event != r.Now.Event, OtherEvent},
		{r.Then.MessageID != r.Now.MessageID, OtherMessageID},
		{r.Then.Event == r.Now.Event && !r.Then.SameColumns(*r.Now), OtherColumns},
	} {
		if is.other {
			out.Differs = append(out.Differs, is.what)
		}
	}
	return out
}

// difference says in words what differs.
func (r *Redecoding) difference() string {
	var parts []string
	for _, what := range r.Differs {
		switch what {
		case OtherEntity:
			parts = append(parts, fmt.Sprintf("the entity was %s %s and is %s %s", r.Then.Machine, r.Then.Entity, r.Now.Machine, r.Now.Entity))
		case OtherEvent:
			parts = append(parts, fmt.Sprintf("the event was %q and is %q", r.Then.Event, r.Now.Event))
		case OtherMessageID:
			parts = append(parts, fmt.Sprintf("the message ID was %q and is %q", r.Then.MessageID, r.Now.MessageID))
		case OtherColumns:
			parts = append(parts, "the columns that it sets or its data differ")
		case Nothing:
			parts = append(parts, fmt.Sprintf("it asked for %q of %s %s, and asks for nothing instead", r.Then.Event, r.Then.Machine, r.Then.Entity))
		}
	}
	return strings.Join(parts, "; ")
}

// lookUpOrigins finds the records that are no duplicates and are decoded to something else. If the
// history can't be read, that is a caveat: what the records would do is known.
func (r *run) lookUpOrigins(ctx context.Context, of *postgres.Rehearsal) error {
	log := func(err error) { r.Logger.Warn("the history could not be read; trying again", "error", err) }
	for more := true; more; {
		err := r.retryAs(ctx, log, func() (err error) {
			more, err = of.LookUpOrigins(ctx)
			return err
		})
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			r.Logger.Warn("the history could not be read; the dry run ends without it", "error", err)
			r.Report.Caveats = append(r.Report.Caveats, Caveat{Decoder, "", fmt.Sprintf("the history could not be read, "+
				"so records that are no duplicates now may have been applied as something else: %v", err)})
			return nil
		}
	}
	return nil
}
