package statemachine_test

import (
	"context"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
)

func TestAllocations(t *testing.T) {
	m := compile(t, orderDefinition())
	pairs := []struct {
		from  statemachine.State
		event statemachine.Event
	}{{pending, "payment.captured"}, {cancelled, "payment.captured"}, {"lost", "payment.captured"}, {pending, "lost"}}
	for _, p := range pairs {
		if n := testing.AllocsPerRun(100, func() { m.Fire(p.from, p.event) }); n != 0 {
			t.Errorf("Fire(%s, %s) allocates %v times", p.from, p.event, n)
		}
		if n := testing.AllocsPerRun(100, func() { m.Classify(p.from, p.event) }); n != 0 {
			t.Errorf("Classify(%s, %s) allocates %v times", p.from, p.event, n)
		}
		if n := testing.AllocsPerRun(100, func() { m.Branches(p.from, p.event) }); n != 0 {
			t.Errorf("Branches(%s, %s) allocates %v times", p.from, p.event, n)
		}
	}
}

func BenchmarkFire(b *testing.B) {
	m := compile(b, orderDefinition())
	for b.Loop() {
		m.Fire(pending, "payment.captured")
	}
}

func BenchmarkClassify(b *testing.B) {
	m := compile(b, orderDefinition())
	for b.Loop() {
		m.Classify(cancelled, "payment.captured")
	}
}

// BenchmarkFireForeign calls Fire with strings that do not share memory with
// the machine's, like those of a decoder or a database, in a machine of 40
// states and 40 events.
func BenchmarkFireForeign(b *testing.B) {
	m := compile(b, chain(40, 40))
	state := statemachine.State([]byte("state-17"))
	event := statemachine.Event([]byte("event-23"))
	for b.Loop() {
		m.Fire(state, event)
	}
}

// BenchmarkLooplabShared measures what Fire replaces: one looplab machine for
// all entities, set to each entity's state.
func BenchmarkLooplabShared(b *testing.B) {
	m := compile(b, orderDefinition())
	shared, err := m.FSM(pending, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		shared.SetState(string(pending))
		if err := shared.Event(ctx, "payment.captured"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, size := range []struct {
		name          string
		states, width int
	}{{"40x40", 40, 40}, {"200x25", 200, 25}, {"500x500", 500, 500}} {
		b.Run(size.name, func(b *testing.B) {
			d := chain(size.states, size.width)
			for b.Loop() {
				compile(b, d)
			}
		})
	}
}
