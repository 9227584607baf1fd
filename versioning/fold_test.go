package versioning_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

func orderRules(identity versioning.Identity) map[string]versioning.Rules {
	return map[string]versioning.Rules{"order": {Machine: order, Identity: identity}}
}

// TestFold covers what the conformance suite can't set up.
func TestFold(t *testing.T) {
	t.Parallel()
	a := versioning.Entity{Machine: "order", Key: "a"}
	paid := func(k versioning.Known, messages ...string) versioning.View {
		if !k.Exists {
			k.Exists, k.Row = true, versioning.Row{State: "paid", Version: 4}
		}
		for _, id := range messages {
			k.Messages.Add(id, 0)
		}
		return versioning.View{Entities: map[versioning.Entity]*versioning.Known{a: &k}}
	}
	for _, c := range []struct {
		name     string
		identity versioning.Identity
		view     versioning.View
		change   versioning.Change
		want     string
	}{
		{
			"a duplicate of an event that the machine no longer has", versioning.ByMessage,
			paid(versioning.Known{ByMessage: map[string][]versioning.PastStep{"m": {{Event: "retired"}}}}, "m"),
			versioning.Change{Event: "retired", MessageID: "m"},
			"duplicate",
		},
		{
			"the same, by version", versioning.ByVersion,
			paid(versioning.Known{Steps: map[int64]versioning.PastStep{3: {Event: "retired"}}}),
			versioning.Change{Event: "retired", Expected: versioning.At(2)},
			"duplicate",
		},
		{
			"an unknown event ahead", versioning.ByMessage,
			paid(versioning.Known{}),
			versioning.Change{Event: "retired", Expected: versioning.At(9)},
			"rejected unknown_event",
		},
		{
			"a version below all", versioning.ByMessage,
			paid(versioning.Known{}),
			versioning.Change{Event: "placed", Expected: versioning.At(-5)},
			"diverged history_missing",
		},
		{
			"a version that can't be raised", versioning.ByMessage,
			paid(versioning.Known{Exists: true, Row: versioning.Row{State: "paid", Version: math.MaxInt64}}),
			versioning.Change{Event: "shipped"},
			"rejected constraint",
		},
		{
			"an empty view", versioning.ByMessage,
			versioning.View{},
			versioning.Change{Event: "placed"},
			"applied",
		},
		{
			"by version the message does not count", versioning.ByVersion,
			paid(versioning.Known{}, "m"),
			versioning.Change{Event: "shipped", MessageID: "m"},
			"rejected no_version",
		},
	} {
		c.change.Machine, c.change.Key = a.Machine, a.Key
		r := &versioning.Record{Changes: []versioning.Change{c.change}}
		plan := versioning.Fold(orderRules(c.identity), &c.view, []*versioning.Record{r})
		if got := verdicts(plan.Outcomes)[0]; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestSameOrigin checks records whose message ID is known but which ask for something
// else. Only the record that made the step, in the same topic, partition and offset, is a
// duplicate.
func TestSameOrigin(t *testing.T) {
	t.Parallel()
	a := versioning.Entity{Machine: "order", Key: "a"}
	made := versioning.Origin{Topic: "orders", TopicID: [16]byte{1}, Partition: 2, Offset: 3}
	for name, c := range map[string]struct {
		origin versioning.Origin
		want   string
	}{
		"the same":           {made, "duplicate"},
		"a renamed topic":    {versioning.Origin{Topic: "renamed", TopicID: [16]byte{1}, Partition: 2, Offset: 3}, "duplicate"},
		"a re-created topic": {versioning.Origin{Topic: "orders", TopicID: [16]byte{2}, Partition: 2, Offset: 3}, "diverged message_taken"},
		"another partition":  {versioning.Origin{Topic: "orders", TopicID: [16]byte{1}, Partition: 1, Offset: 3}, "diverged message_taken"},
		"another offset":     {versioning.Origin{Topic: "orders", TopicID: [16]byte{1}, Partition: 2, Offset: 4}, "diverged message_taken"},
	} {
		known := &versioning.Known{
			Exists: true, Row: versioning.Row{State: "pending", Version: 1},
			ByMessage: map[string][]versioning.PastStep{"m": {{Event: "placed", MessageID: "m", Origin: made, Digest: 7}}},
		}
		known.Messages.Add("m", 7)
		view := &versioning.View{Entities: map[versioning.Entity]*versioning.Known{a: known}}
		r := &versioning.Record{Origin: c.origin, Changes: []versioning.Change{{Machine: "order", Key: "a", Event: "noted", MessageID: "m"}}}
		plan := versioning.Fold(orderRules(versioning.ByMessage), view, []*versioning.Record{r})
		if got := verdicts(plan.Outcomes)[0]; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestActionsSeeRealRows checks that an action is not called for a change that can't be
// made because an earlier change of the record can't.
func TestActionsSeeRealRows(t *testing.T) {
	t.Parallel()
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending"},
			{Event: "captured", From: statemachine.In("pending"), To: "paid"},
			{Event: "shipped", From: statemachine.In("pending"), To: "shipped", Do: statemachine.Do(func(f *statemachine.Firing, _ *struct{}, _ struct{}) error {
				return fmt.Errorf("asked about version %d", f.Version)
			})},
		},
		Terminal: statemachine.In("paid", "shipped"),
	})
	r := &versioning.Record{Changes: []versioning.Change{
		{Machine: "order", Key: "missing", Event: "captured", MessageID: "1"}, {Machine: "order", Key: "a", Event: "shipped", MessageID: "1"},
	}}
	view := &versioning.View{Entities: map[versioning.Entity]*versioning.Known{
		{Machine: "order", Key: "a"}: {Exists: true, Row: versioning.Row{State: "pending", Version: 1}},
	}}
	plan := versioning.Fold(versioningtest.NewMemory(versioning.Rules{Machine: m}).Rules(), view, []*versioning.Record{r})
	if got := verdicts(plan.Outcomes)[0]; got != "early no_entity" {
		t.Errorf("%s: %s", got, plan.Outcomes[0].Detail)
	}
}

// TestNoGuess checks that a record that waits for one entity is not rejected because of
// the branch that another one would take: which one it takes is known only later.
func TestNoGuess(t *testing.T) {
	t.Parallel()
	large := statemachine.When("large", func(_ struct{}, n int) bool { return n > 10 })
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending"},
			{Event: "paid", From: statemachine.In("pending"), To: "checked", When: large},
			{Event: "paid", From: statemachine.In("pending"), To: "open"},
			{Event: "shipped", From: statemachine.In("open"), To: "ended"},
			{Event: "refused", From: statemachine.In("checked"), To: "ended"},
		},
		Terminal: statemachine.In("ended"),
	})
	store := versioningtest.NewMemory(versioning.Rules{Machine: m})
	var l log
	records := []*versioning.Record{
		l.say("b", "placed"),
		l.record(
			versioning.Change{Machine: "order", Key: "a", Event: "paid", Data: 1},
			versioning.Change{Machine: "order", Key: "b", Event: "paid", Data: 1},
			versioning.Change{Machine: "order", Key: "b", Event: "shipped"},
		),
		l.say("a", "placed"),
	}
	for _, r := range records {
		store.Prepare(r)
	}
	result, err := store.Apply(t.Context(), "", records)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts(result.Outcomes) {
		if v != "applied" {
			t.Errorf("record %d: %s, %s", i, v, result.Outcomes[i].Detail)
		}
	}
}

// TestFoldIgnoresUnknownMachines checks that a parked record with a machine that the
// store does not have is neither judged nor written.
func TestFoldIgnoresUnknownMachines(t *testing.T) {
	t.Parallel()
	a := versioning.Entity{Machine: "order", Key: "a"}
	foreign := &versioning.Record{Origin: versioning.Origin{Offset: 7}, Changes: []versioning.Change{
		{Machine: "order", Key: "a", Event: "captured", MessageID: "1"}, {Machine: "other", Key: "x", Event: "y", MessageID: "1"},
	}}
	view := &versioning.View{Parked: []versioning.Parked{{Record: foreign, Entity: a, Reason: versioning.ReasonNoEntity}}}
	placed := (&log{}).say("a", "placed")
	plan := versioning.Fold(orderRules(versioning.ByMessage), view, []*versioning.Record{placed})
	if len(plan.Moves) != 1 || len(plan.Moves[0].Steps) != 1 || len(plan.Release)+len(plan.Repark)+len(plan.Park)+len(plan.Dead) > 0 {
		t.Errorf("plan %+v touches a record of an unknown machine", plan)
	}
}

// TestFoldIsPure folds the same arguments twice.
func TestFoldIsPure(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		m := versioningtest.NewMemory(w.rules...)
		rules := m.Rules()
		records := w.draw(t)
		for _, r := range records {
			m.Prepare(r)
		}
		view := &versioning.View{}
		first := versioning.Fold(rules, view, records)
		second := versioning.Fold(rules, view, records)
		if diff := cmp.Diff(first.Outcomes, second.Outcomes); diff != "" {
			t.Fatalf("the second fold differs:\n%s", diff)
		}
		for _, move := range first.Moves {
			version := move.From.Version
			for _, step := range move.Steps {
				if version++; step.Version != version {
					t.Fatalf("steps of %s: %+v", move.Entity, move.Steps)
				}
			}
		}
	})
}

// A world is a set of machines and the events that records may contain.
type world struct {
	rules    []versioning.Rules
	machines []string
	events   []statemachine.Event
}

func drawWorld(t *rapid.T) world {
	var w world
	for i := range rapid.IntRange(1, 2).Draw(t, "machines") {
		m := drawMachine(t, fmt.Sprint("m", i))
		identity := versioning.ByMessage
		switch {
		case m.ProveStateIdentity() == nil && rapid.Bool().Draw(t, "by state"):
			identity = versioning.ByState
		case rapid.IntRange(0, 4).Draw(t, "by version") == 0:
			identity = versioning.ByVersion
		}
		w.rules = append(w.rules, versioning.Rules{Machine: m, Identity: identity})
		w.machines = append(w.machines, m.Name())
		w.events = append(w.events, m.Events()...)
	}
	w.events = append(slices.Compact(w.events), "nosuch")
	return w
}

// drawMachine repeats until a machine compiles.
func drawMachine(t *rapid.T, name string) *statemachine.Machine {
	return rapid.Custom(func(t *rapid.T) *statemachine.Machine {
		states := []statemachine.State{"s0", "s1", "s2", "s3"}[:rapid.IntRange(2, 4).Draw(t, "states")]
		d := statemachine.Definition{Name: name, Version: 1, Terminal: statemachine.In(states[len(states)-1])}
		d.Transitions = append(d.Transitions, statemachine.Transition{Event: "e0", To: "s0"})
		// One path through all states, so that most machines compile, and some detours.
		for i := 1; i < len(states); i++ {
			d.Transitions = append(d.Transitions, statemachine.Transition{
				Event: statemachine.Event(fmt.Sprint("e", i)), From: statemachine.In(states[i-1]), To: states[i],
			})
		}
		for range rapid.IntRange(0, 4).Draw(t, "detours") {
			d.Transitions = append(d.Transitions, statemachine.Transition{
				Event: statemachine.Event(fmt.Sprint("e", rapid.IntRange(0, 5).Draw(t, "event"))),
				From:  statemachine.In(states[rapid.IntRange(0, len(states)-2).Draw(t, "from")]),
				To:    states[rapid.IntRange(0, len(states)-1).Draw(t, "to")],
				Do:    statemachine.Do(detour),
			})
		}
		m, err := statemachine.Compile(d)
		if err != nil {
			t.Skip("does not compile")
		}
		return m
	}).Draw(t, name)
}

// A counter is the row of a drawn machine, and says is the data of its events.
type (
	counter struct {
		N    int64   `db:"n"`
		List []int64 `db:"list"`
	}
	says struct{ Odd bool }
)

// detour counts, and refuses some steps after it has changed the row.
func detour(f *statemachine.Firing, row *counter, s says) error {
	row.N += f.Version
	if len(row.List) > 0 {
		row.List[0]++
	}
	row.List = append(row.List, row.N)
	switch {
	case s.Odd && row.N%3 == 1:
		return fmt.Errorf("not at version %d", f.Version)
	case s.Odd && row.N%3 == 2:
		return statemachine.NotYet(fmt.Errorf("not at version %d", f.Version))
	}
	return nil
}

// draw draws records with swaps, gaps and redeliveries. Some have versions, some have
// several changes, some can't be decoded.
func (w world) draw(t *rapid.T) []*versioning.Record {
	records := make([]*versioning.Record, rapid.IntRange(1, 20).Draw(t, "records"))
	for i := range records {
		if i > 0 && rapid.IntRange(0, 7).Draw(t, "redelivery") == 0 {
			again := *records[rapid.IntRange(0, i-1).Draw(t, "of")]
			again.Changes = slices.Clone(again.Changes)
			records[i] = &again
			continue
		}
		r := &versioning.Record{Origin: versioning.Origin{Offset: int64(i)}}
		if rapid.IntRange(0, 9).Draw(t, "undecodable") == 0 {
			r.Err = fmt.Errorf("garbage")
		}
		if rapid.Bool().Draw(t, "payload") {
			r.Value = []byte("x")
		}
		for range rapid.SampledFrom([]int{1, 1, 1, 1, 2, 3, 0}).Draw(t, "changes") {
			c := versioning.Change{
				Machine: rapid.SampledFrom(w.machines).Draw(t, "machine"),
				Key:     rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"),
				Event:   rapid.SampledFrom(w.events).Draw(t, "event"),
				Data:    says{Odd: len(r.Value) > 0},
			}
			if rapid.IntRange(0, 3).Draw(t, "own ID") == 0 {
				c.MessageID = rapid.SampledFrom([]string{"m1", "m2", "m3"}).Draw(t, "id")
			}
			if rapid.IntRange(0, 3).Draw(t, "versioned") == 0 {
				c.Expected = versioning.At(rapid.Int64Range(0, 4).Draw(t, "version"))
			}
			r.Changes = append(r.Changes, c)
		}
		records[i] = r
	}
	return records
}

// ending is the complete content of a memory store.
type ending struct {
	Rows    map[versioning.Entity]versioningtest.Row
	History map[versioning.Entity][]versioningtest.Transition
	Parked  []versioningtest.Parked
	Dead    []versioningtest.DeadLetter
}

// play applies records in batches that end before the given indexes. It returns the
// last verdict of each record and the final content of the store.
func (w world) play(t *rapid.T, records []*versioning.Record, borders []int) ([]string, ending) {
	m := versioningtest.NewMemory(w.rules...)
	last := make([]string, len(records))
	from := 0
	for _, to := range append(slices.Clone(borders), len(records)) {
		batch := make([]*versioning.Record, 0, to-from)
		for _, r := range records[from:to] {
			own := *r
			own.Changes = slices.Clone(r.Changes)
			m.Prepare(&own)
			batch = append(batch, &own)
		}
		result, err := m.Apply(t.Context(), "", batch)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range result.Released {
			for i := range records[:from] {
				if records[i].Origin == s.Record.Origin && last[i][:5] == "early" {
					last[i] = verdicts([]versioning.Outcome{s.Outcome})[0]
				}
			}
		}
		copy(last[from:to], verdicts(result.Outcomes))
		from = to
	}
	all := ending{Rows: m.Rows(), History: make(map[versioning.Entity][]versioningtest.Transition), Parked: m.Parked(), Dead: m.DeadLetters()}
	for e := range all.Rows {
		all.History[e] = m.History(e)
	}
	slices.SortFunc(all.Dead, func(a, b versioningtest.DeadLetter) int { return int(a.Origin.Offset - b.Origin.Offset) })
	return last, all
}

// early removes the reasons of Early verdicts: a reason depends on when the record was
// last judged.
func early(verdicts []string) []string {
	all := slices.Clone(verdicts)
	for i, v := range all {
		if len(v) > 5 && v[:5] == "early" {
			all[i] = "early"
		}
	}
	return all
}

// TestBorders checks the main property of Fold: the verdicts do not depend on where
// batches begin and end.
func TestBorders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		records := w.draw(t)
		singles := make([]int, 0, len(records))
		for i := 1; i < len(records); i++ {
			singles = append(singles, i)
		}
		var some []int
		for _, i := range singles {
			if rapid.Bool().Draw(t, "border") {
				some = append(some, i)
			}
		}
		wantVerdicts, want := w.play(t, records, singles)
		gotVerdicts, got := w.play(t, records, some)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("one by one (-), with borders at %v (+):\n%s", some, diff)
		}
		if diff := cmp.Diff(early(wantVerdicts), early(gotVerdicts)); diff != "" {
			t.Fatalf("verdicts one by one (-), with borders at %v (+):\n%s", some, diff)
		}

		// Delivering everything again changes nothing.
		_, twice := w.play(t, append(slices.Clone(records), records...), some)
		if diff := cmp.Diff(want, twice); diff != "" {
			t.Fatalf("after once (-) and twice (+):\n%s", diff)
		}
	})
}

// TestPrefix checks that the verdict on a record does not depend on later records,
// except that they may release it.
func TestPrefix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		records := w.draw(t)
		n := rapid.IntRange(1, len(records)).Draw(t, "prefix")
		part, _ := w.play(t, records[:n], nil)
		whole, _ := w.play(t, records, nil)
		for i, v := range part {
			if v[:5] != "early" && v != whole[i] {
				t.Fatalf("record %d is %s, but %s if other records follow", i, v, whole[i])
			}
		}
	})
}

// FuzzFold folds arbitrary records over arbitrary views. Fold must not panic, and must
// give each record a verdict.
func FuzzFold(f *testing.F) {
	f.Add([]byte("any"), []byte("thing"))
	f.Add(bytes.Repeat([]byte{1, 2, 3}, 20), bytes.Repeat([]byte{0, 5, 2}, 20))
	f.Fuzz(func(t *testing.T, view, batch []byte) {
		in := &source{bytes.NewReader(view)}
		v := &versioning.View{Entities: make(map[versioning.Entity]*versioning.Known), Dead: make(map[versioning.Origin]versioning.Outcome)}
		known := func() *versioning.Known {
			e := in.entity()
			if v.Entities[e] == nil {
				v.Entities[e] = &versioning.Known{Steps: make(map[int64]versioning.PastStep)}
			}
			return v.Entities[e]
		}
		for in.Len() > 0 {
			switch in.n(5) {
			case 0:
				k := known()
				k.Row = versioning.Row{State: in.state(), Version: in.version(), Gone: in.n(4) == 0}
				k.Exists = !k.Row.Gone
			case 1:
				known().Messages.Add(fmt.Sprint(in.n(4)), versioning.Digest(in.n(2)))
			case 2:
				known().Steps[in.version()] = versioning.PastStep{Event: in.event()}
			case 3:
				v.Parked = append(v.Parked, versioning.Parked{Record: in.record(), Entity: versioning.Entity{Machine: "order", Key: "a"}, Seen: in.version()})
			case 4:
				v.Dead[versioning.Origin{Offset: int64(in.n(16))}] = versioning.Outcome{Verdict: versioning.Rejected}
			}
		}
		in = &source{bytes.NewReader(batch)}
		var records []*versioning.Record
		for in.Len() > 0 {
			records = append(records, in.record())
		}
		rules := orderRules(versioning.Identity(len(view) % 3))
		for i, o := range versioning.Fold(rules, v, records).Outcomes {
			if o.Verdict == versioning.Undecided {
				t.Errorf("record %d has no verdict", i)
			}
		}
		versioning.Refold(rules, v)
	})
}

// A source derives values from bytes.
type source struct{ *bytes.Reader }

func (s *source) n(n int) int {
	b, err := s.ReadByte()
	if err != nil {
		return 0
	}
	return int(b) % n
}

func (s *source) version() int64 {
	if s.n(8) > 0 {
		return int64(s.n(6))
	}
	var b [8]byte
	_, _ = s.Read(b[:])
	return int64(binary.LittleEndian.Uint64(b[:]))
}

func (s *source) entity() versioning.Entity {
	return versioning.Entity{Machine: []string{"order", "order", "order", "other"}[s.n(4)], Key: string(rune('a' + s.n(3)))}
}

func (s *source) event() statemachine.Event {
	return append(order.Events(), "nosuch", "")[s.n(len(order.Events())+2)]
}

func (s *source) state() statemachine.State {
	return append(order.States(), "nosuch", "")[s.n(len(order.States())+2)]
}

func (s *source) record() *versioning.Record {
	r := &versioning.Record{Origin: versioning.Origin{Offset: int64(s.n(16))}}
	if s.n(8) == 1 {
		r.Err = fmt.Errorf("garbage")
	}
	for range s.n(4) {
		e := s.entity()
		c := versioning.Change{Machine: e.Machine, Key: e.Key, Event: s.event(), MessageID: fmt.Sprint(s.n(4))}
		if s.n(3) == 0 {
			c.Expected = versioning.At(s.version())
		}
		r.Changes = append(r.Changes, c)
	}
	return r
}

// TestDirect folds changes that a caller waits for: nothing is kept of those that can't be
// made, and those that can be release parked records.
func TestDirect(t *testing.T) {
	t.Parallel()
	rules := orderRules(versioning.ByMessage)
	direct := func(offset int64, changes ...versioning.Change) *versioning.Record {
		r := &versioning.Record{Direct: true, Origin: versioning.Origin{Offset: offset}, Changes: changes}
		versioning.Prepare(rules, r)
		return r
	}
	parked := &versioning.Record{Origin: versioning.Origin{Topic: "orders"}, Changes: []versioning.Change{{Key: "b", Event: "captured"}}}
	versioning.Prepare(rules, parked)
	view := &versioning.View{Parked: []versioning.Parked{{
		Record: parked, Entity: versioning.Entity{Machine: "order", Key: "b"}, Reason: versioning.ReasonNoEntity,
	}}}
	plan := versioning.Fold(rules, view, []*versioning.Record{
		direct(1, versioning.Change{Key: "a", Event: "captured"}),
		direct(2, versioning.Change{Key: "a", Event: "nosuch"}),
		direct(3, versioning.Change{Key: "", Event: "placed"}),
		direct(4, versioning.Change{Key: "b", Event: "placed"}),
		direct(5, versioning.Change{Key: "b", Event: "shipped"}, versioning.Change{Key: "c", Event: "shipped"}),
	})
	var got []string
	for _, o := range plan.Outcomes {
		got = append(got, fmt.Sprint(o.Verdict, " ", o.Reason))
	}
	want := []string{"early no_entity", "rejected unknown_event", "rejected invalid_key", "applied ", "early no_entity"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want, +got):\n%s", diff)
	}
	if len(plan.Park) > 0 || len(plan.Dead) > 0 || len(plan.Release) != 1 || len(plan.Moves) != 1 || len(plan.Moves[0].Steps) != 2 {
		t.Errorf("parks %v, dead letters %v, releases %v, moves %v", plan.Park, plan.Dead, plan.Release, plan.Moves)
	}
}

// A decode function can't make a record of a topic direct: it would be lost if it were refused.
func TestDecodedIsNotDirect(t *testing.T) {
	t.Parallel()
	r := &versioning.Record{}
	r.Decode(func(r *versioning.Record) ([]versioning.Change, error) {
		r.Direct = true
		return nil, nil
	})
	if r.Direct {
		t.Error("the record is direct")
	}
}
