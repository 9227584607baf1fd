package gatewaytest

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/gateway"
)

// A model says what the storage must hold.
type model struct {
	running map[gateway.Key]gateway.Run
	stored  map[gateway.Key]string
	expired map[gateway.Key]bool
}

// begin calls Begin and compares the result with the model.
func (m *model) begin(t *testing.T, b gateway.Backend, k gateway.Key) error {
	if m.expired[k] {
		m.running[k] = claimExpired(t, b, k)
		delete(m.expired, k)
		return nil
	}
	c, err := begin(t.Context(), b, k)
	if err != nil {
		return err
	}
	running := m.running[k] != nil
	if c.busy != running || string(c.stored) != m.stored[k] {
		return fmt.Errorf("Begin: busy %t, stored %q; want busy %t, stored %q", c.busy, c.stored, running, m.stored[k])
	}
	if c.run != nil {
		m.running[k] = c.run
	}
	return nil
}

// end ends the run of a key, if there is one.
func (m *model) end(ctx context.Context, k gateway.Key, response string) error {
	run := m.running[k]
	delete(m.running, k)
	switch {
	case run == nil:
		return nil
	case response == "":
		return run.Release(ctx)
	}
	m.stored[k] = response
	return run.Finish(ctx, gateway.Result{Response: []byte(response)})
}

func (m *model) expire() {
	for k := range m.stored {
		m.expired[k] = true
	}
	clear(m.stored)
}

// abandon releases the runs that are left after a failure.
func (m *model) abandon(t *testing.T) {
	for _, run := range m.running {
		_ = run.Release(t.Context())
	}
}

// testRandom compares two processes with a model under random calls.
func testRandom(t *testing.T, s Subject) {
	processes := []gateway.Backend{s.Open(t), s.Open(t)}
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		m := &model{running: make(map[gateway.Key]gateway.Run), stored: make(map[gateway.Key]string), expired: make(map[gateway.Key]bool)}
		defer m.abandon(t) // a failure must not hide behind the runs that the attempt before has left
		for step := range rapid.IntRange(1, 30).Draw(rt, "steps") {
			k := key(fmt.Sprint(round, "-", rapid.IntRange(0, 2).Draw(rt, "key")))
			var err error
			switch rapid.SampledFrom([]string{"begin", "begin", "finish", "release", "expire"}).Draw(rt, "what") {
			case "begin":
				err = m.begin(t, processes[rapid.IntRange(0, 1).Draw(rt, "process")], k)
			case "finish":
				err = m.end(t.Context(), k, fmt.Sprint("response ", step))
			case "release":
				err = m.end(t.Context(), k, "")
			default:
				s.Expire(t)
				m.expire()
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		for k := range m.running {
			if err := m.end(t.Context(), k, ""); err != nil {
				rt.Fatal(err)
			}
		}
	})
}
