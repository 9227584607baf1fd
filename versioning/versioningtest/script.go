package versioningtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A suiteCase is a sequence of records, one per step, and the expected final content of
// the store.
type suiteCase struct {
	name  string
	put   map[string]string // rows that exist before: "order/a": "pending@1"
	gone  []string          // entities whose rows are deleted at the step "!gone"
	steps []step

	rows   []string // "order/a paid@2", in any order
	parked []string // "order/a not_yet 1": entity, reason, version seen; in the order in which they were parked
	dead   []string // "order/a illegal"; in any order

	// replayed has the verdicts of the steps when everything is delivered again, if
	// they do not follow from the first verdicts.
	replayed []string
}

// A step is a record and its last verdict. Changes are written "machine/key event",
// joined by " + ", each followed by options: id=message, former=message, at=expected
// version, note=column value. Options of the record follow after " | ": value=...,
// err=text, direct for the changes of a caller, same=index to deliver an earlier step again, or origin=index to deliver its
// record decoded differently. "!gone" deletes the rows in the case's gone.
type step struct{ say, want string }

// A script runs one case.
type script struct {
	Harness
	t        *testing.T
	c        suiteCase
	all      []*versioning.Record
	verdicts map[*versioning.Record]string
}

func newScript(t *testing.T, open Open, c suiteCase) *script {
	t.Helper()
	s := &script{Harness: open(t, suiteRules()), t: t, c: c, verdicts: make(map[*versioning.Record]string)}
	for name, row := range c.put {
		state, version, _ := strings.Cut(row, "@")
		s.Put(entity(name), Row{State: statemachine.State(state), Version: number(version)})
	}
	return s
}

// records returns the case's records: nil for a step without a record.
func (s *script) records() []*versioning.Record {
	s.all = make([]*versioning.Record, len(s.c.steps))
	for i, step := range s.c.steps {
		if !strings.HasPrefix(step.say, "!") {
			s.all[i] = s.parse(i, step.say)
		}
	}
	return slices.Clone(s.all)
}

func (s *script) parse(index int, say string) *versioning.Record {
	changes, options, _ := strings.Cut(say, " | ")
	r := &versioning.Record{Origin: originOf(index), Timestamp: time.UnixMilli(int64(index)).UTC()}
	for option := range strings.FieldsSeq(options) {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "value":
			r.Value = []byte(value)
		case "err":
			r.Err = errors.New(value)
		case "origin":
			r.Origin = originOf(int(number(value)))
		case "direct":
			r.Direct, r.Origin = true, versioning.Origin{Offset: int64(1000 + index)}
		case "same":
			return s.parse(int(number(value)), s.c.steps[number(value)].say)
		}
	}
	if changes == "nothing" {
		return r
	}
	for change := range strings.SplitSeq(changes, " + ") {
		c := parseChange(change)
		if c.Machine == account && c.Event == "debited" {
			c.Data = debited{string(r.Value)}
		}
		if c.Machine == lamp {
			c.Data = signal{string(r.Value)}
		}
		r.Changes = append(r.Changes, c)
	}
	return r
}

func parseChange(say string) versioning.Change {
	fields := strings.Fields(say)
	e := entity(fields[0])
	c := versioning.Change{Machine: e.Machine, Key: e.Key, Event: statemachine.Event(fields[1])}
	for _, option := range fields[2:] {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "id":
			c.MessageID = value
		case "former":
			c.FormerID = value
		case "at":
			c.Expected = versioning.At(number(value))
		default:
			if c.Set == nil {
				c.Set = make(versioning.Columns)
			}
			c.Set[name] = value
		}
	}
	return c
}

// batch applies records. At a nil record it ends the batch and deletes the rows in
// gone.
func (s *script) batch(records ...*versioning.Record) {
	s.t.Helper()
	for len(records) > 0 {
		n := slices.Index(records, nil)
		if n < 0 {
			n = len(records)
		}
		s.apply(records[:n])
		if n == len(records) {
			return
		}
		for _, name := range s.c.gone {
			s.Delete(entity(name))
		}
		records = records[n+1:]
	}
}

func (s *script) apply(records []*versioning.Record) versioning.Result {
	s.t.Helper()
	for _, r := range records {
		s.Prepare(r)
	}
	result, err := s.Apply(s.t.Context(), "", records)
	if err != nil {
		s.t.Fatalf("Apply: %v", err)
	}
	if len(result.Outcomes) != len(records) {
		s.t.Fatalf("%d outcomes for %d records", len(result.Outcomes), len(records))
	}
	for i, r := range records {
		s.verdicts[r] = verdict(result.Outcomes[i])
	}
	for _, settled := range result.Released {
		for _, r := range s.all {
			if r != nil && r.Origin == settled.Record.Origin {
				s.verdicts[r] = verdict(settled.Outcome)
			}
		}
	}
	return result
}

// settled checks the last verdicts and the final content.
func (s *script) settled() {
	s.t.Helper()
	for i, step := range s.c.steps {
		if s.all[i] == nil {
			continue
		}
		if got := s.verdicts[s.all[i]]; got != step.want {
			s.t.Errorf("step %d, %q: %s, want %s", i, step.say, got, step.want)
		}
	}
	s.ending()
}

func (s *script) ending() {
	s.t.Helper()
	got := s.contents()
	var parked, dead []string
	for _, p := range got.Parked {
		parked = append(parked, fmt.Sprintf("%s %s %d", p.Entity, p.Reason, p.Seen))
	}
	for _, d := range got.DeadLetters {
		dead = append(dead, fmt.Sprintf("%s %s", d.Outcome.Entity, d.Outcome.Reason))
	}
	s.same("rows", sorted(s.c.rows), got.Rows)
	s.same("parked", s.c.parked, parked)
	s.same("dead letters", sorted(s.c.dead), sorted(dead))
}

func (s *script) same(what string, want, got []string) {
	s.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s (-want, +got):\n%s", what, diff)
	}
}

// again redelivers the whole case in one batch and checks that nothing changes.
func (s *script) again() {
	s.t.Helper()
	before := s.contents()
	redelivered := slices.DeleteFunc(s.records(), func(r *versioning.Record) bool { return r == nil })
	result := s.apply(redelivered)
	var want, got []string
	for i, step := range s.c.steps {
		if strings.HasPrefix(step.say, "!") {
			continue
		}
		switch {
		case s.c.replayed != nil:
			want = append(want, s.c.replayed[i])
		case step.want == "applied":
			want = append(want, "duplicate")
		default:
			want = append(want, step.want)
		}
	}
	for _, o := range result.Outcomes {
		got = append(got, verdict(o))
	}
	s.same("verdicts of the redelivery", want, got)
	if len(result.Released) > 0 {
		s.t.Errorf("redelivery released %d records", len(result.Released))
	}
	if diff := cmp.Diff(before, s.contents()); diff != "" {
		s.t.Errorf("redelivery changed something (-before, +after):\n%s", diff)
	}
}

func (s *script) contents() contents {
	all := contents{History: make(map[string][]Transition), Parked: s.Parked(), DeadLetters: s.DeadLetters()}
	slices.SortFunc(all.DeadLetters, func(a, b DeadLetter) int { return int(a.Origin.Offset - b.Origin.Offset) })
	for _, e := range s.entities() {
		if row, ok := s.Row(e); ok {
			all.Rows = append(all.Rows, fmt.Sprintf("%s %s@%d", e, row.State, row.Version))
		}
		if h := s.History(e); len(h) > 0 {
			all.History[e.String()] = h
		}
	}
	all.Rows = sorted(all.Rows)
	return all
}

// entities returns every entity of the case.
func (s *script) entities() (entities []versioning.Entity) {
	add := func(e versioning.Entity) {
		if !slices.Contains(entities, e) && s.known(e) {
			entities = append(entities, e)
		}
	}
	for name := range s.c.put {
		add(entity(name))
	}
	for _, r := range s.all {
		if r == nil {
			continue
		}
		for _, c := range r.Changes {
			add(versioning.Entity{Machine: c.Machine, Key: c.Key})
		}
	}
	return entities
}

func (s *script) known(e versioning.Entity) bool {
	return slices.ContainsFunc(suiteRules(), func(r versioning.Rules) bool { return r.Machine.Name() == e.Machine })
}

func originOf(index int) versioning.Origin {
	return versioning.Origin{Topic: "events", TopicID: [16]byte{15: 7}, Partition: 2, Offset: int64(index)}
}

func entity(name string) versioning.Entity {
	machine, key, _ := strings.Cut(name, "/")
	return versioning.Entity{Machine: machine, Key: key}
}
