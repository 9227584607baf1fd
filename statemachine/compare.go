package statemachine

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Comparison says how a definition differs from an earlier one; see [Compare].
type Comparison struct {
	Name     string
	From, To int // the versions

	// Changes are sorted: what strands entities comes first.
	Changes []Change
}

// A Change is a difference between two definitions.
type Change struct {
	Effect Effect

	// State and Event say what the change is about; either may be empty.
	State State
	Event Event

	// Detail says what has changed and what follows from it, in a sentence.
	Detail string
}

// An Effect says what a change means for the entities and records that there are already.
type Effect uint8

const (
	// Harmless is the zero value: nothing that the earlier version has made, and no record that
	// it would have applied, is treated in another way.
	Harmless Effect = iota

	// Changed means that some records have another outcome than with the earlier version.
	Changed

	// Stranding means that entities can be in a state which the later version does not know, or
	// in which they can't end. Such a change needs a [Migration].
	Stranding
)

// String returns "harmless", "changed" or "stranding".
func (e Effect) String() string {
	switch e {
	case Stranding:
		return "stranding"
	case Changed:
		return "changed"
	case Harmless:
	}
	return "harmless"
}

// ErrOtherMachine is the error of Compare if the definitions have different names.
var ErrOtherMachine = errors.New("the definitions are of different machines")

// Compare returns the differences between an earlier and a later definition. It compares
// outlines, so it can't see what functions do, except that Definition.Revision differs. The
// error is [ErrOtherMachine].
func Compare(earlier, later Outline) (Comparison, error) {
	if earlier.Name != later.Name {
		return Comparison{}, fmt.Errorf("%w: %q and %q", ErrOtherMachine, earlier.Name, later.Name)
	}
	c := comparer{Comparison: Comparison{earlier.Name, earlier.Version, later.Version, nil}, earlier: earlier, later: later, ending: later.ending()}
	c.states()
	c.events()
	c.arrows()
	c.revision()
	slices.SortStableFunc(c.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.Effect, a.Effect), cmp.Compare(a.State, b.State), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Detail, b.Detail))
	})
	return c.Comparison, nil
}

// Stranding returns the changes that strand entities.
func (c Comparison) Stranding() (all []Change) {
	for _, change := range c.Changes {
		if change.Effect == Stranding {
			all = append(all, change)
		}
	}
	return all
}

// String returns the changes, one on a line.
func (c Comparison) String() string {
	if len(c.Changes) == 0 {
		return fmt.Sprintf("%s: versions %d and %d do not differ", c.Name, c.From, c.To)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: from version %d to %d", c.Name, c.From, c.To)
	for _, change := range c.Changes {
		fmt.Fprintf(&b, "\n  %-9s  %s", change.Effect, change.Detail)
	}
	return b.String()
}

// A comparer collects the changes.
type comparer struct {
	Comparison

	earlier, later Outline
	ending         map[State]bool // by state of the later one
}

func (c *comparer) add(effect Effect, s State, e Event, format string, args ...any) {
	c.Changes = append(c.Changes, Change{effect, s, e, fmt.Sprintf(format, args...)})
}

func (c *comparer) states() {
	for _, s := range c.earlier.States {
		was, is := slices.Contains(c.earlier.Terminal, s), slices.Contains(c.later.Terminal, s)
		switch {
		case !c.later.Knows(s):
			c.add(Stranding, s, "", "state %q is gone: entities in it are stranded; declare a Migration from it, or keep the state", s)
		case !c.ending[s]:
			c.add(Stranding, s, "", "no terminal state can be reached from state %q any more", s)
		case slices.Contains(c.later.Retired, s):
			c.add(Changed, s, "", "state %q is retired: entities in it are migrated %s", s, targetsText(c.later.arrows()[arrow{s, Migrated}].Targets))
		case was && !is:
			c.add(Changed, s, "", "state %q is not terminal any more: entities that had ended in it can go on", s)
		case !was && is:
			c.add(Changed, s, "", "state %q is terminal now: entities in it have ended", s)
		}
	}
	for _, s := range c.earlier.Retired {
		if !c.later.Knows(s) {
			c.add(Stranding, s, "", "the migration from state %q is gone: entities that were not migrated are stranded; keep it until there are none", s)
		}
	}
	for _, s := range c.later.States {
		if !c.earlier.Knows(s) {
			c.add(Harmless, s, "", "state %q is new", s)
		}
	}
}

func (c *comparer) events() {
	before, now := c.earlier.events(), c.later.events()
	for _, e := range slices.Sorted(maps.Keys(before)) {
		if !now[e] {
			c.add(Changed, "", e, "event %q is gone: a record with it that still arrives becomes a dead letter", e)
		}
	}
	for _, e := range slices.Sorted(maps.Keys(now)) {
		if !before[e] {
			c.add(Harmless, "", e, "event %q is new", e)
		}
	}
}

// arrows compares the transitions from states that both have.
func (c *comparer) arrows() {
	before, now := c.earlier.arrows(), c.later.arrows()
	for _, a := range c.earlier.Arrows {
		_, there := now[arrow{a.From, a.Event}]
		if a.Event == Migrated || there || !c.later.Takes(a.Event) || a.From != None && !slices.Contains(c.later.States, a.From) {
			continue
		}
		c.add(Changed, a.From, a.Event, "event %q is not legal in state %s any more: a record with it is parked or becomes a dead letter", a.Event, stateText(a.From))
	}
	for _, a := range c.later.Arrows {
		b, there := before[arrow{a.From, a.Event}]
		switch {
		case there:
			c.arrow(b, a)
		case a.Event != Migrated && c.earlier.Takes(a.Event) && (a.From == None || slices.Contains(c.earlier.States, a.From)):
			c.add(Harmless, a.From, a.Event, "event %q is legal in state %s now, and leads %s", a.Event, stateText(a.From), targetsText(a.Targets))
		}
	}
}

// arrow compares an event in a state.
func (c *comparer) arrow(before, now Arrow) {
	if !slices.Equal(before.Targets, now.Targets) {
		c.add(Changed, now.From, now.Event, "event %q in state %s leads %s, and led %s", now.Event, stateText(now.From), targetsText(now.Targets), targetsText(before.Targets))
	}
	switch {
	case before.After == now.After:
	case now.After == "":
		c.add(Changed, now.From, now.Event, "event %q does not happen by itself in state %s any more; timers that were armed still fire", now.Event, stateText(now.From))
	case before.After == "":
		c.add(Changed, now.From, now.Event, "event %q happens by itself in state %s, after %s: for entities that enter the state from now on", now.Event, stateText(now.From), now.After)
	default:
		c.add(Changed, now.From, now.Event, "event %q happens by itself in state %s after %s, and did after %s: timers that were armed keep their time", now.Event, stateText(now.From), now.After, before.After)
	}
}

// targetsText returns branches in words.
func targetsText(targets []Target) string {
	parts := make([]string, len(targets))
	for i, t := range targets {
		parts[i] = fmt.Sprintf("to %q", t.To)
		if t.When != "" {
			parts[i] += " if " + visible(t.When)
		} else if i > 0 {
			parts[i] += " otherwise"
		}
		if t.Does {
			parts[i] += " (with an action)"
		}
	}
	return strings.Join(parts, ", ")
}

func (c *comparer) revision() {
	if c.earlier.Revision != c.later.Revision {
		c.add(Changed, "", "", "the revision of the functions is %q, and was %q", c.later.Revision, c.earlier.Revision)
	}
	if len(c.Changes) > 0 && c.later.Version == c.earlier.Version {
		c.add(Changed, "", "", "the version is still %d; increase it", c.later.Version)
	}
}
