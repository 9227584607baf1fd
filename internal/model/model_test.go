package model_test

import (
	"flag"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// cases is the number of histories to draw for each identity, unless the flag
// -rapid.checks is set. CI also runs 1,500.
const cases = "1000"

func TestMain(m *testing.M) {
	flag.Parse()
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set(cases); err != nil {
			panic(err)
		}
	}
	testenv.Main(m)
}

// A drawing says which histories to draw.
type drawing struct {
	name      string
	identity  versioning.Identity
	versioned bool
	machines  *rapid.Generator[model.Definition]
}

var drawings = []drawing{
	{"by message", versioning.ByMessage, false, model.Machines()},
	{"by message, most with versions", versioning.ByMessage, true, model.Machines()},
	{"by version", versioning.ByVersion, true, model.Machines()},
	{"by state", versioning.ByState, false, model.Trees()},
}

// TestFramework compares the framework with the model: for any machine,
// traffic, batch boundaries, redeliveries and interleaving of workers, the
// rows, history, parked records and dead letters must be those that the model
// computes from the same messages, delivered once and one by one. A failing
// case is shrunk and printed with its seed.
func TestFramework(t *testing.T) {
	for _, draw := range drawings {
		t.Run(draw.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t, draw, openMemory)
				w.run(t)
				w.check(t)
			})
		})
	}
}

// A world is the framework's store, the model, and the topic.
type world struct {
	machine    *statemachine.Machine
	store      store
	model      *model.Model
	partitions [][]model.Message
}

// A store is one of the framework's stores, with a way to inspect it.
type store interface {
	versioningtest.Store

	look(t *rapid.T) found
}

// found is the content of a store.
type found struct {
	Rows    map[string]row // by key
	History map[string][]model.Step
	Parked  map[place]string // value: the key of the entity it waits for
	Dead    map[place]model.Fate
}

type row struct {
	State   statemachine.State
	Version int64
	Columns string // of machines that compute
}

type place struct {
	Partition int32
	Offset    int64
}

func placeOf(o versioning.Origin) place { return place{o.Partition, o.Offset} }

func newFound() found {
	return found{map[string]row{}, map[string][]model.Step{}, map[place]string{}, map[place]model.Fate{}}
}

func newWorld(t *rapid.T, draw drawing, open func(*rapid.T, versioning.Rules) store) *world {
	d := draw.machines.Draw(t, "machine")
	machine, err := statemachine.Compile(d.Definition)
	if err != nil {
		t.Fatalf("the drawn machine does not compile: %v", err)
	}
	rules := versioning.Rules{Machine: machine, Identity: draw.identity, MaxParked: rapid.IntRange(1, 3).Draw(t, "max parked")}
	w := &world{machine: machine, model: model.New(d, draw.identity), store: open(t, rules)}
	w.model.MaxParked = rules.MaxParked
	for p := range int32(2) {
		w.partitions = append(w.partitions, model.Traffic(d, p, draw.versioned).Draw(t, "traffic"))
	}
	return w
}

// run consumes the partitions in batches of random sizes. After a batch, its
// offsets may be lost; then the worker, or the one that takes over, starts
// again at an earlier offset.
func (w *world) run(t *rapid.T) {
	next := make([]int, len(w.partitions))
	for {
		var open []int
		for p, messages := range w.partitions {
			if next[p] < len(messages) {
				open = append(open, p)
			}
		}
		if len(open) == 0 {
			break
		}
		p := rapid.SampledFrom(open).Draw(t, "partition")
		size := rapid.IntRange(1, len(w.partitions[p])-next[p]).Draw(t, "batch")
		w.apply(t, w.partitions[p][next[p]:next[p]+size])
		next[p] += size
		if rapid.IntRange(0, 3).Draw(t, "crash") == 0 {
			next[p] = rapid.IntRange(0, next[p]).Draw(t, "begin again")
		}
	}
	w.deliver()
}

// deliver delivers the partitions' messages to the model.
func (w *world) deliver() {
	for _, messages := range w.partitions {
		for _, m := range messages {
			w.model.Deliver(m)
		}
	}
}

func (w *world) apply(t *rapid.T, messages []model.Message) {
	if _, err := w.store.Apply(t.Context(), "", w.records(messages)); err != nil {
		t.Fatal(err)
	}
}

// records converts messages to the store's records.
func (w *world) records(messages []model.Message) (records []*versioning.Record) {
	for _, m := range messages {
		r := &versioning.Record{Origin: m.Origin}
		for _, part := range m.Parts {
			change := versioning.Change{Key: part.Key, Event: part.Event, MessageID: m.ID}
			if part.Expected >= 0 {
				change.Expected = versioning.At(part.Expected)
			}
			r.Changes = append(r.Changes, change)
		}
		w.store.Prepare(r)
		records = append(records, r)
	}
	return records
}

func (w *world) check(t *rapid.T) {
	t.Helper()
	want := expected(w.model)
	if diff := differenceOf(want, w.store.look(t)); diff != "" {
		t.Errorf("(-model +framework):\n%s\nmachine: %s", diff, w.machine.Mermaid())
	}
}

// differenceOf compares what was found with what was expected.
func differenceOf(want, got found) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(model.Step{}))
}

// expected returns what the model expects to find in the store, without the rows' columns.
func expected(m *model.Model) found {
	want := newFound()
	for key, steps := range m.History {
		want.Rows[key] = row{State: m.State(key), Version: int64(len(steps))}
		want.History[key] = steps
	}
	for _, w := range m.Parked {
		want.Parked[placeOf(w.Origin)] = w.For
	}
	for origin, fate := range m.Dead {
		want.Dead[placeOf(origin)] = fate
	}
	return want
}

// memory is the in-memory store.
type memory struct{ *versioningtest.Memory }

func openMemory(_ *rapid.T, rules versioning.Rules) store {
	return memory{versioningtest.NewMemory(rules)}
}

func (m memory) look(*rapid.T) found {
	f := newFound()
	for entity, r := range m.Rows() {
		f.Rows[entity.Key] = row{State: r.State, Version: r.Version}
		for _, step := range m.History(entity) {
			f.History[entity.Key] = append(f.History[entity.Key], model.Step{
				Event: step.Event, To: step.To, ID: step.MessageID, Origin: step.Origin,
			})
		}
	}
	for _, p := range m.Parked() {
		f.Parked[placeOf(p.Origin)] = p.Entity.Key
	}
	for _, l := range m.DeadLetters() {
		f.Dead[placeOf(l.Origin)] = model.Fate{Verdict: l.Outcome.Verdict, Reason: l.Outcome.Reason, Key: l.Outcome.Entity.Key}
	}
	return f
}
