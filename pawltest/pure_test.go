package pawltest_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Box is the row of a box.
type Box struct {
	Text string            `db:"text"`
	Tags map[string]string `db:"tags"`
}

// Things is the data of box.filled.
type Things struct {
	Names []string
	Of    map[string]string
}

var things = Things{Names: []string{"a", "b"}, Of: map[string]string{"a": "1", "b": "2"}}

// boxes returns a machine with one function and one condition.
func boxes(when func(Box, Things) bool, do func(*statemachine.Firing, *Box, Things) error) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: "box", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "empty"},
			{Event: "filled", From: statemachine.In("empty"), To: "full", When: statemachine.When("it fits", when), Do: statemachine.Do(do)},
			{Event: "filled", From: statemachine.In("empty"), To: "empty", Do: statemachine.Do(do)},
		},
		Terminal: statemachine.In("full"),
	})
}

func fits(Box, Things) bool { return true }

func nothing(*statemachine.Firing, *Box, Things) error { return nil }

var calls atomic.Int64

// TestPurity checks each way in which a function can be impure.
func TestPurity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, says string
		machine    *statemachine.Machine
	}{
		{"randomness in a condition", "a second call", boxes(func(Box, Things) bool { return rand.IntN(2) == 0 }, nothing)},
		{"randomness in an action", "a second call", boxes(fits, func(_ *statemachine.Firing, b *Box, _ Things) error {
			b.Text = string(rune('a' + rand.IntN(20)))
			return nil
		})},
		{"the order of a map", "a second call", boxes(fits, func(_ *statemachine.Firing, b *Box, in Things) error {
			for name := range in.Of {
				b.Text += name
			}
			return nil
		})},
		{"the order of a map in outputs", "a second call", boxes(fits, func(f *statemachine.Firing, _ *Box, in Things) error {
			for name := range in.Of {
				f.Emit("things", name)
			}
			return nil
		})},
		{"memory", "a second call", boxes(fits, func(f *statemachine.Firing, _ *Box, _ Things) error {
			f.Enqueue(calls.Add(1))
			return nil
		})},
		{"the clock", "a second call", boxes(fits, func(f *statemachine.Firing, _ *Box, _ Things) error {
			f.Enqueue(time.Now().UnixNano())
			return nil
		})},
		{"the year", "a call at another time", boxes(fits, func(f *statemachine.Firing, _ *Box, _ Things) error {
			f.At("made", time.Date(time.Now().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC))
			return nil
		})},
		{"the goroutine", "another goroutine", boxes(fits, func(_ *statemachine.Firing, b *Box, _ Things) error {
			var stack [100]byte
			name, _, _ := strings.Cut(string(stack[:runtime.Stack(stack[:], false)]), "[")
			b.Text = name
			return nil
		})},
		{"an error that differs", "a second call", boxes(fits, func(*statemachine.Firing, *Box, Things) error {
			return errors.New(string(rune('a' + rand.IntN(20))))
		})},
		{"changed data", "changes the event's data", boxes(fits, func(_ *statemachine.Firing, _ *Box, in Things) error {
			in.Names[0] = "x"
			return nil
		})},
		{"a condition that changes data", "changes its arguments", boxes(func(_ Box, in Things) bool {
			in.Of["a"] = "x"
			return true
		}, nothing)},
		{"a panic", "it panics", boxes(fits, func(*statemachine.Firing, *Box, Things) error { panic("no") })},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := failuresOf(t, func(tb pawltest.TB) {
				w := pawltest.Of(tb, c.machine)
				w.Give("b", "made", nil)
				w.Give("b", "filled", things)
			})
			if len(got) != 1 || !strings.Contains(got[0], c.says) || !strings.Contains(got[0], `in state "empty"`) {
				t.Errorf("failures %q, want one with %q", got, c.says)
			}
		})
	}
}

// TestPureFunctionsPass has functions that look impure and are not.
func TestPureFunctionsPass(t *testing.T) {
	t.Parallel()
	w := pawltest.Of(t, boxes(
		func(b Box, in Things) bool { return b.Tags == nil && len(in.Of) == 2 },
		func(f *statemachine.Firing, b *Box, in Things) error {
			b.Tags = make(map[string]string)
			maps.Copy(b.Tags, in.Of) // in any order
			b.Text = f.ID() + f.Time.String()
			f.Emit("things", b.Tags)
			f.Enqueue(&in)
			return nil
		}))
	w.Give("b", "made", nil)
	w.Give("b", "filled", things).Want(versioning.Applied)
	w.WantJobs("b", &things)
}

// TestImpureDecode checks the function of the user that is no transition.
func TestImpureDecode(t *testing.T) {
	t.Parallel()
	cfg := paymentConfig(nil)
	cfg.Decode = func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: "p1", Event: "payment.voided", MessageID: strings.Repeat("x", 1+rand.IntN(50))}}, nil
	}
	got := failuresOf(t, func(tb pawltest.TB) { pawltest.New(tb, cfg).Send(pawltest.Record{}) })
	if len(got) != 1 || !strings.Contains(got[0], "Decode is not pure") {
		t.Errorf("failures %q", got)
	}
}

// TestImpureIsTurnedOff checks Config.Impure.
func TestImpureIsTurnedOff(t *testing.T) {
	t.Parallel()
	cfg := paymentConfig(nil)
	cfg.Tables[0].Machine = payments(mistakes{impure: true})
	cfg.Impure = true
	w := pawltest.New(t, cfg)
	w.Give("p1", "payment.authorized", Money{100})
	w.Give("p1", "payment.noted", Note{"fragile"}).Want(versioning.Applied)
}
