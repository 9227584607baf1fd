package pawltest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Walk plays many random scripts to a machine in memory: it delivers records, some of them
// again, too early or never, lets the worker crash, and fires timers. After each step it checks
//
//   - that the invariants hold,
//   - that the functions are pure (see [Worker]),
//   - that no message has taken effect twice, however often it is sent,
//   - and after each script, that the same records in another order of delivery lead to the same
//     rows (see Sources).
//
// It ends when every transition and every branch was taken, and at least Scripts scripts were
// played. The first failure ends it too: it is shrunk to the shortest script that shows it, and
// printed as a test.
type Walk struct {
	// Config has the machines and, for Records, the Decode. Its Pool is not used.
	Config Config

	// Data has values for the data of events. The first ones should be the simplest: scripts are
	// shrunk towards them. Events without data need none. Choose values with which every branch
	// can be taken.
	Data map[statemachine.Event][]any

	// Changes are records with several changes, or with columns to set, to draw from.
	Changes [][]versioning.Change

	// Records returns records of topics to draw from, for Config.Decode. Each call gets another
	// id, and returns the same records but for that: put it where your producers put the ID of a
	// message. With Records or Changes, and without Data, only those are drawn.
	Records func(id string) []Record

	// Invariants hold after each step.
	Invariants []Invariant

	// Sources says which events come in order. Records whose events are in one list, and that
	// share an entity, keep their order, as in a partition of a topic. Other records may overtake
	// each other: an event that is in no list is a separate source. If all records are applied
	// in one order, any other order must apply all of them too, and end with the same rows.
	//
	// nil means that every event is a separate source, and that the machine says what may come
	// in another order: two orders that apply all records must end with the same rows, and no
	// record may stay parked. Orders in which a record is rejected do not count, because nothing
	// says whether they can happen.
	Sources [][]statemachine.Event

	// Except lists transitions that this walk can't take, as a failure prints them, such as
	// "authorized payment.voided".
	Except []string

	// Entity is the key of the entity. Empty means "e1".
	Entity string

	// Scripts is the least number of scripts. 0 means 150.
	Scripts int

	// Steps is the largest number of steps of a script. 0 means 10.
	Steps int

	// Seed chooses other random scripts. The same seed always plays the same ones.
	Seed uint64

	// Name is how a test calls this Walk, for printed tests. Empty means "walk".
	Name string
}

const (
	defaultScripts = 150
	defaultSteps   = 10

	// patience is how many times as many scripts are played in search of the last transitions,
	// since one was taken for the first time.
	patience = 2
)

// Run walks. It fails the test if it finds a mistake, or if some transition was never taken.
func (w Walk) Run(t TB) {
	t.Helper()
	k, err := newWalker(t, w)
	if err != nil {
		t.Fatalf("pawltest: %v", err)
	}
	found, err := k.walk()
	switch {
	case err != nil:
		t.Fatalf("pawltest: %v", err)
	case found != nil:
		t.Errorf("%s", found)
	default:
		if left := k.goals.left(w.Except); len(left) > 0 {
			t.Errorf("these transitions were never taken; add data to Walk.Data with which they can be, or list them in Walk.Except:\n%s",
				indent(strings.Join(left, "\n"), "  "))
		}
	}
}

// A walker is a walk that is under way.
type walker struct {
	Walk

	t       TB
	bench   *testing.T
	cfg     Config
	letters []letter
	goals   *goals
	coder   coder
	shared  *purity // with what functions have done in all scripts
}

func newWalker(t TB, w Walk) (*walker, error) {
	k := &walker{Walk: w, t: t, bench: benchOf(t), cfg: w.Config, coder: coder{callerPackage()}}
	k.cfg.Pool = nil
	if k.Scripts <= 0 {
		k.Scripts = defaultScripts
	}
	if k.Steps <= 0 {
		k.Steps = defaultSteps
	}
	if k.Entity == "" {
		k.Entity = "e1"
	}
	if k.Name == "" {
		k.Name = "walk"
	}
	world, err := newWorld(t.Context(), k.bench, &k.cfg)
	if err != nil {
		return nil, err
	}
	k.shared = world.pure
	if k.letters, err = k.alphabet(world); err != nil {
		return nil, err
	}
	k.goals = newGoals(&k.cfg)
	return k, nil
}

// world returns a new world. What functions have done is remembered in all worlds, unless it is
// for a replay.
func (k *walker) world(replay bool) (*world, error) {
	w, err := newWorld(k.t.Context(), k.bench, &k.cfg)
	if err == nil && !replay && k.shared != nil {
		w.pure.seen = k.shared.seen
	}
	return w, err
}

// walk plays scripts until something is found, or everything was taken.
func (k *walker) walk() (found fmt.Stringer, err error) {
	for n, progress := 0, 0; n < k.Scripts || n < progress+k.Scripts*patience && len(k.goals.left(k.Except)) > 0; n++ {
		taken := len(k.goals.taken)
		rng := rand.New(rand.NewPCG(k.Seed, uint64(n)))
		p, err := k.newPlay(false)
		if err != nil {
			return nil, err
		}
		f, err := k.script(p, rng)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return k.shrink(p.script, f)
		}
		if len(k.goals.taken) > taken {
			progress = n
		}
		if n >= k.Scripts {
			continue
		}
		if found, err := k.orders(p, rng); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// script plays a random script.
func (k *walker) script(p *play, rng *rand.Rand) (*fault, error) {
	for range 2 + rng.IntN(k.Steps) {
		for _, a := range k.choose(p, rng) {
			f, err := p.do(a)
			if f != nil || err != nil {
				return f, err
			}
		}
		k.goals.note(p.world)
	}
	return nil, nil
}

// choose returns the next actions of a script.
func (k *walker) choose(p *play, rng *rand.Rand) []action {
	n := rng.IntN(100)
	switch given := p.gives(); {
	case n < 12 && len(given) > 0:
		return []action{{kind: redeliver, of: given[rng.IntN(len(given))]}}
	case n < 24 && len(given) > 0:
		return []action{{kind: resend, of: given[rng.IntN(len(given))]}}
	case n < 30:
		return []action{{kind: nextTimer}}
	case n < 40: // a record comes before the one that should be first
		first := k.letter(p, rng, 0)
		second := k.after(p, first, rng)
		if n < 33 { // and the first one never comes
			return []action{p.give(second, noCrash)}
		}
		return []action{p.give(second, noCrash), p.give(first, noCrash)}
	case n < 46:
		return []action{p.give(k.letter(p, rng, 10), crashBeforeCommit)}
	case n < 52:
		return []action{p.give(k.letter(p, rng, 10), crashAfterCommit)}
	}
	return []action{p.give(k.letter(p, rng, 25), noCrash)}
}

// letter chooses a letter: mostly one that is legal now, and of these one of a transition that was
// not taken yet. anything is the chance of any letter, in percent.
func (k *walker) letter(p *play, rng *rand.Rand, anything int) int {
	if rng.IntN(100) < anything {
		return rng.IntN(len(k.letters))
	}
	var legal, wanted []int
	for i := range k.letters {
		l := &k.letters[i]
		state := p.world.back.(*memory).state(l.entity)
		machine := k.cfg.machine(l.entity.Machine)
		if machine == nil {
			continue
		}
		if _, ok := machine.Fire(state, l.event); !ok {
			continue
		}
		legal = append(legal, i)
		if k.goals.wants(l.entity.Machine, state, l.event) {
			wanted = append(wanted, i)
		}
	}
	switch {
	case len(wanted) > 0 && rng.IntN(4) > 0:
		return wanted[rng.IntN(len(wanted))]
	case len(legal) > 0:
		return legal[rng.IntN(len(legal))]
	}
	return rng.IntN(len(k.letters))
}

// after chooses a letter that may be legal after another one.
func (k *walker) after(p *play, first int, rng *rand.Rand) int {
	l := &k.letters[first]
	machine := k.cfg.machine(l.entity.Machine)
	if machine == nil {
		return rng.IntN(len(k.letters))
	}
	to, _ := machine.Fire(p.world.back.(*memory).state(l.entity), l.event)
	var next []int
	for i := range k.letters {
		if _, ok := machine.Fire(to, k.letters[i].event); ok && k.letters[i].entity == l.entity {
			next = append(next, i)
		}
	}
	if len(next) == 0 {
		return rng.IntN(len(k.letters))
	}
	return next[rng.IntN(len(next))]
}

// sourceOf returns the source of an event.
func (k *walker) sourceOf(e statemachine.Event) string {
	for i, events := range k.Sources {
		if slices.Contains(events, e) {
			return fmt.Sprint("source ", i)
		}
	}
	return "event " + string(e)
}
