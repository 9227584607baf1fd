package pawltest

import (
	"fmt"
	"slices"
)

// A finding is a mistake and the shortest script that shows it.
type finding struct {
	text  string // what is wrong
	test  string // a Go test that shows it
	steps int
	story string
}

// String returns what a failed test prints.
func (f *finding) String() string {
	return fmt.Sprintf("%s\n\nThe shortest script that shows it has %d steps. As a test:\n\n%s\n%s", f.text, f.steps, f.test, f.story)
}

// shrink returns the shortest script with a fault of the same kind that can be made from a script
// by leaving out steps and by taking simpler ones.
func (k *walker) shrink(script []action, f *fault) (*finding, error) {
	s := shrinker{k: k, kind: f.kind, script: script, fault: f}
	if ok, err := s.try(script); err != nil {
		return nil, err
	} else if !ok { // it does not happen again, so it can't be shrunk
		f = &fault{f.kind, f.text + "\n\nIt does not happen again when the script is played again."}
		p, _, err := k.replay(script, "")
		if err != nil {
			return nil, err
		}
		return k.report(p, f), nil
	}
	for {
		before := s.script
		for _, pass := range []func() error{s.dropOne, s.dropTwo, s.simplify} {
			if err := pass(); err != nil {
				return nil, err
			}
		}
		if slices.Equal(before, s.script) {
			if err := s.shortest(); err != nil {
				return nil, err
			}
			return k.report(s.play, s.fault), nil
		}
	}
}

type shrinker struct {
	k      *walker
	kind   string
	script []action // the best one so far
	play   *play    // of the script
	fault  *fault
}

// attempts is how often a script without the fault is played: a function that is not pure may do
// the same several times in a row.
const attempts = 2

// try takes a script if it shows the fault. What comes after the fault is left out.
func (s *shrinker) try(script []action) (bool, error) {
	for range attempts {
		p, f, err := s.k.replay(script, s.kind)
		if err != nil {
			return false, err
		}
		if f != nil {
			s.script, s.play, s.fault = p.script, p, f
			return true, nil
		}
	}
	return false, nil
}

// dropOne leaves out one step after the other.
func (s *shrinker) dropOne() error {
	for i := range slices.Backward(s.script) {
		if i >= len(s.script) {
			continue
		}
		if _, err := s.try(without(s.script, i)); err != nil {
			return err
		}
	}
	return nil
}

// dropTwo leaves out two steps that make sense only together.
func (s *shrinker) dropTwo() error {
	for i := range slices.Backward(s.script) {
		for j := i - 1; j >= 0; j-- {
			if i >= len(s.script) {
				break
			}
			if _, err := s.try(without(s.script, i, j)); err != nil {
				return err
			}
		}
	}
	return nil
}

// simplify takes crashes out and replaces records by simpler ones of the same event.
func (s *shrinker) simplify() error {
	for i := 0; i < len(s.script); i++ {
		if s.script[i].crash != noCrash {
			simpler := slices.Clone(s.script)
			simpler[i].crash = noCrash
			if _, err := s.try(simpler); err != nil {
				return err
			}
		}
		if i >= len(s.script) || s.script[i].kind != give {
			continue
		}
		for _, letter := range s.k.simpler(s.script[i].letter) {
			simpler := slices.Clone(s.script)
			simpler[i].letter = letter
			ok, err := s.try(simpler)
			if err != nil {
				return err
			}
			if ok {
				break
			}
		}
	}
	return nil
}

// simpler returns the letters of the same event that are simpler than one.
func (k *walker) simpler(than int) (letters []int) {
	l := &k.letters[than]
	for i := range k.letters {
		if o := &k.letters[i]; o.event == l.event && o.entity == l.entity && o.rank < l.rank {
			letters = append(letters, i)
		}
	}
	return letters
}

// report returns the finding of a play that ends with a fault.
func (k *walker) report(p *play, f *fault) *finding {
	return &finding{text: f.text, test: k.test(p, f), steps: len(p.script), story: p.world.everything()}
}
