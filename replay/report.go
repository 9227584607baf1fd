package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A Report says what a replay has found. It is made for encoding/json.
type Report struct {
	Kind    string    `json:"kind"` // "dry run", "apply", "verify" or "rebuild"
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended,omitzero"`
	Ranges  []Range   `json:"ranges"`
	Caveats []Caveat  `json:"caveats,omitempty"`

	// Records counts the records that were judged. Verdicts counts them by verdict and reason.
	Records  int64   `json:"records"`
	Verdicts []Count `json:"verdicts"`

	// Released counts the parked records that were settled, by what they became. Records that
	// were parked by this replay are in Verdicts too, as early.
	Released []Count `json:"released,omitempty"`

	// Kept counts the records among them that are parked or dead letters already, and stay so.
	// Only a dry run counts them.
	Kept int64 `json:"kept,omitempty"`

	// Redecoded counts the records that are decoded to something else than when they were
	// applied. Only a dry run counts them. Of those whose verdict is not duplicate, because the
	// entity or the message ID is another one now, or because they can't be decoded any more, it
	// counts those among the first 10,000 records with the same verdict.
	Redecoded        int64        `json:"redecoded,omitempty"`
	RedecodedSamples []Redecoding `json:"redecoded_samples,omitempty"`

	// Verified is what Verify has found, and Rebuilt what Rebuild has done.
	Verified *Verified `json:"verified,omitempty"`
	Rebuilt  *Rebuilt  `json:"rebuilt,omitempty"`
}

// A Count counts records with the same outcome.
type Count struct {
	Verdict string            `json:"verdict"`
	Reason  versioning.Reason `json:"reason,omitempty"`
	Records int64             `json:"records"`
	Samples []Sample          `json:"samples,omitempty"` // not of ignored and duplicate ones, and of applied ones only in a dry run
}

// A Sample is one record. Detail may quote what the record says.
type Sample struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Machine   string `json:"machine,omitempty"`
	Entity    string `json:"entity,omitempty"`
	Event     string `json:"event,omitempty"`
	Detail    string `json:"detail,omitempty"`
}

func sampleOf(r *versioning.Record, o versioning.Outcome) Sample {
	return Sample{
		Topic: r.Origin.Topic, Partition: r.Origin.Partition, Offset: r.Origin.Offset,
		Machine: o.Entity.Machine, Entity: o.Entity.Key, Event: string(o.Event), Detail: o.Detail,
	}
}

// count counts an outcome. If it is worse than good, the record is a sample.
func count(counts *[]Count, samples int, good versioning.Verdict, r *versioning.Record, o versioning.Outcome) {
	verdict := o.Verdict.String()
	i := slices.IndexFunc(*counts, func(c Count) bool { return c.Verdict == verdict && c.Reason == o.Reason })
	if i < 0 {
		i = len(*counts)
		*counts = append(*counts, Count{Verdict: verdict, Reason: o.Reason})
	}
	c := &(*counts)[i]
	c.Records++
	if o.Verdict > good && len(c.Samples) < samples {
		c.Samples = append(c.Samples, sampleOf(r, o))
	}
}

// sortCounts sorts by verdict, from best to worst, and reason.
func sortCounts(counts []Count) {
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(versioning.ParseVerdict(a.Verdict), versioning.ParseVerdict(b.Verdict)), cmp.Compare(a.Reason, b.Reason))
	})
}

// Of returns how many records have a verdict, whatever the reason.
func (r *Report) Of(verdict versioning.Verdict) (n int64) {
	for _, c := range r.Verdicts {
		if c.Verdict == verdict.String() {
			n += c.Records
		}
	}
	return n
}

// Clean reports whether a replay has found that everything is as it should be: a dry run that no
// record would change anything or is decoded to something else, a verification that there is no
// difference, and that not every entity has steps that can't be compared, and a rebuild that nothing
// was left out. A dry run with the caveat [Decoder] is not clean. What Apply has done is always clean.
func (r *Report) Clean() bool {
	switch {
	case r.Rebuilt != nil:
		return r.Rebuilt.Refused == 0
	case r.Verified != nil:
		return r.Verified.Different == 0 && (r.Verified.Whole > 0 || r.Verified.Cut == 0)
	case r.Kind == kindDryRun:
		kept := r.Of(versioning.Early) + r.Of(versioning.Rejected) + r.Of(versioning.Diverged)
		unread := slices.ContainsFunc(r.Caveats, func(c Caveat) bool { return c.Kind == Decoder })
		return r.Of(versioning.Applied) == 0 && len(r.Released) == 0 && r.Redecoded == 0 && kept == r.Kept && !unread
	}
	return true
}

// String returns the report for a person to read, in several lines.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %d records", r.Kind, r.Records)
	if !r.Ended.IsZero() {
		fmt.Fprintf(&b, " in %v", r.Ended.Sub(r.Began).Round(time.Millisecond))
	}
	for _, c := range r.Caveats {
		fmt.Fprintf(&b, "\nnot proven (%s): %s", c.Kind, c.Detail)
	}
	writeCounts(&b, "", r.Verdicts, r.Kind == kindDryRun || r.Kind == kindApply)
	writeCounts(&b, "parked, now ", r.Released, r.Kind == kindDryRun || r.Kind == kindApply)
	if r.Kept > 0 {
		fmt.Fprintf(&b, "\n%12d of them are parked or dead letters already", r.Kept)
	}
	if r.Redecoded > 0 {
		fmt.Fprintf(&b, "\n%12d are decoded to something else than when they were applied", r.Redecoded)
		for _, x := range r.RedecodedSamples {
			writeSamples(&b, []Sample{x.Sample})
			fmt.Fprintf(&b, "\n%16s %s", "", x.difference())
		}
	}
	if r.Verified != nil {
		r.Verified.write(&b, r.Rebuilt == nil)
	}
	if r.Rebuilt != nil {
		r.Rebuilt.write(&b)
	}
	return b.String()
}

func writeCounts(b *strings.Builder, before string, counts []Count, withSamples bool) {
	for _, c := range counts {
		fmt.Fprintf(b, "\n%12d %s%s", c.Records, before, c.Verdict)
		if c.Reason != "" {
			fmt.Fprintf(b, " (%s)", c.Reason)
		}
		if withSamples {
			writeSamples(b, c.Samples)
		}
	}
}

func writeSamples(b *strings.Builder, samples []Sample) {
	for _, s := range samples {
		fmt.Fprintf(b, "\n%14s %s/%d@%d", "", s.Topic, s.Partition, s.Offset)
		if s.Entity != "" {
			fmt.Fprintf(b, " %s %s %s", s.Machine, s.Entity, s.Event)
		}
		if s.Detail != "" {
			fmt.Fprintf(b, ": %s", s.Detail)
		}
	}
}
