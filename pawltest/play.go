package pawltest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-go/pawl/versioning"
)

// An action is one step of a script.
type action struct {
	kind   actionKind
	id     int // of a given record, in its script
	letter int
	of     int // the id of the record that is delivered or sent again
	crash  crash
}

type actionKind uint8

const (
	give actionKind = iota
	redeliver
	resend
	nextTimer
)

// A play is a script that is being played.
type play struct {
	walk   *walker
	world  *world
	script []action
	byID   map[int]*sent
	next   int // the next id

	made map[int]*sent // of redeliver and resend: by their place in the script
}

func (k *walker) newPlay(replay bool) (*play, error) {
	w, err := k.world(replay)
	if err != nil {
		return nil, err
	}
	return &play{walk: k, world: w, byID: make(map[int]*sent), made: make(map[int]*sent)}, nil
}

// give returns the action of giving a new record.
func (p *play) give(letter int, crash crash) action {
	p.next++
	return action{kind: give, id: p.next, letter: letter, crash: crash}
}

// gives returns the ids of the records that were given.
func (p *play) gives() (ids []int) {
	for _, a := range p.script {
		if a.kind == give {
			ids = append(ids, a.id)
		}
	}
	return ids
}

// do does one action and checks what it has led to. An action that is not possible does nothing.
func (p *play) do(a action) (*fault, error) {
	if (a.kind == redeliver || a.kind == resend) && p.byID[a.of] == nil {
		return nil, nil
	}
	at := len(p.script)
	p.script = append(p.script, a)
	f, err := p.act(a, at)
	if f != nil || err != nil {
		return f, err
	}
	if f := p.again(a, at); f != nil {
		return f, nil
	}
	if f := p.twice(); f != nil {
		return f, nil
	}
	return p.world.hold(p.walk.Invariants)
}

func (p *play) act(a action, at int) (*fault, error) {
	w := p.world
	switch a.kind {
	case give:
		m := p.walk.letters[a.letter].message(w, int64(len(w.sent)+1))
		s, f, err := w.send(m, a.crash)
		p.byID[a.id] = s
		return f, err
	case redeliver:
		p.made[at] = p.byID[a.of]
		return w.deliver(p.byID[a.of], a.crash)
	case resend:
		s, f, err := w.send(p.byID[a.of].message, a.crash)
		p.made[at] = s
		return f, err
	case nextTimer:
		due, err := w.back.next(w.ctx)
		if err != nil || due.IsZero() {
			p.script = p.script[:at] // nothing to fire
			return nil, err
		}
		if due.Before(w.now) {
			due = w.now
		}
		_, err = w.advance(due)
		return nil, err
	}
	return nil, nil
}

// again checks the outcome of a message that was sent again after it had taken effect.
func (p *play) again(a action, at int) *fault {
	if a.kind != resend || p.byID[a.of].outcome.Verdict != versioning.Applied {
		return nil
	}
	s := p.made[at]
	if s == nil || s.outcome.Verdict != versioning.Diverged {
		return nil
	}
	return &fault{"a message differs when it is sent again", fmt.Sprintf(
		"the message of delivery %d is Diverged when it is sent again as delivery %d: its columns or its data are others: %s",
		p.byID[a.of].number, s.number, s.outcome.Detail)}
}

// twice checks that no message has taken effect twice.
func (p *play) twice() *fault {
	m := p.world.back.(*memory)
	names, _ := m.entities(p.world.ctx) // in memory it does not fail
	for _, e := range names {
		by := make(map[*message]Step)
		for _, t := range m.History(e) {
			s := Step{t.Version, t.Event, t.From, t.To, numberOf(t.Origin)}
			if s.by == 0 {
				continue
			}
			sent := p.world.sent[s.by-1]
			first, ok := by[sent.message]
			if ok && first.by != s.by {
				return &fault{"a message takes effect twice", fmt.Sprintf(
					"a message has taken effect twice: it was delivered as delivery %d, which made version %d of %s, and sent again as delivery %d, which made version %d: %s",
					first.by, first.Version, p.world.nameOf(e), s.by, s.Version, sent.text)}
			}
			by[sent.message] = s
		}
	}
	return nil
}

// replay plays a script from the start. It returns the play, cut off at the fault, if there is one
// of the kind. Functions are called again only if the fault is that they are not pure.
func (k *walker) replay(script []action, kind string) (*play, *fault, error) {
	p, err := k.newPlay(true)
	if err != nil {
		return nil, nil, err
	}
	if !strings.HasPrefix(kind, impure) {
		p.world.pure = nil
	}
	for _, a := range script {
		f, err := p.do(a)
		if err != nil {
			return nil, nil, err
		}
		if f != nil && f.kind == kind {
			return p, f, nil
		}
		if f != nil {
			return p, nil, nil
		}
	}
	return p, nil, nil
}

// without returns a script without some of its actions.
func without(script []action, places ...int) (rest []action) {
	for i, a := range script {
		if !slices.Contains(places, i) {
			rest = append(rest, a)
		}
	}
	return rest
}
