package model

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Machines draws definitions that compile: a few states and events, including
// cycles and self-transitions.
func Machines() *rapid.Generator[Definition] {
	return rapid.Custom(func(t *rapid.T) Definition {
		states := rapid.IntRange(1, 5).Draw(t, "states")
		events := rapid.IntRange(1, 5).Draw(t, "events")
		d := draft{legal: map[string]bool{}}
		// A path to every state, and from every state to the last state.
		for s := 1; s <= states; s++ {
			d.add(t, rapid.IntRange(0, s-1).Draw(t, "from"), s, events)
		}
		for s := 1; s < states; s++ {
			d.add(t, s, rapid.IntRange(s+1, states).Draw(t, "to"), events)
		}
		// More transitions, including cycles, but none out of the last state.
		for range rapid.IntRange(0, 6).Draw(t, "more") {
			d.add(t, rapid.IntRange(0, states-1).Draw(t, "from"), rapid.IntRange(1, states).Draw(t, "to"), events)
		}
		return Definition{Definition: statemachine.Definition{
			Name: "random", Version: 1, Transitions: d.transitions, Terminal: statemachine.In(state(states)),
		}}
	})
}

// Trees draws definitions in which each state has one transition into it and
// each event has one place. They can detect duplicates by state.
func Trees() *rapid.Generator[Definition] {
	return rapid.Custom(func(t *rapid.T) Definition {
		d := statemachine.Definition{Name: "tree", Version: 1}
		states := rapid.IntRange(1, 7).Draw(t, "states")
		leaves := map[int]bool{}
		for s := 1; s <= states; s++ {
			from := rapid.IntRange(0, s-1).Draw(t, "from")
			delete(leaves, from)
			leaves[s] = true
			d.Transitions = append(d.Transitions, transition(from, s, fmt.Sprint("e", s)))
		}
		for s := 1; s <= states; s++ {
			if leaves[s] {
				d.Terminal = append(d.Terminal, state(s))
			}
		}
		return Definition{Definition: d}
	})
}

func state(n int) statemachine.State {
	if n == 0 {
		return statemachine.None
	}
	return statemachine.State(fmt.Sprint("s", n))
}

func transition(from, to int, event string) statemachine.Transition {
	t := statemachine.Transition{Event: statemachine.Event(event), To: state(to)}
	if from > 0 {
		t.From = statemachine.In(state(from))
	}
	return t
}

type draft struct {
	transitions []statemachine.Transition
	legal       map[string]bool // "state event"
}

// add adds a transition with an event that is not yet legal there. It prefers
// common events, so that events have several places.
func (d *draft) add(t *rapid.T, from, to, events int) {
	event := fmt.Sprint("e", rapid.IntRange(1, events).Draw(t, "event"))
	if d.legal[fmt.Sprint(from, event)] {
		event = fmt.Sprintf("e%d-%d", from, len(d.transitions))
	}
	d.legal[fmt.Sprint(from, event)] = true
	d.transitions = append(d.transitions, transition(from, to, event))
}

// Traffic draws the messages of a few entities in one partition: walks through
// the machine, with duplicates, swaps, gaps and unrelated messages. If
// versioned is true, they have expected versions, some of them wrong.
func Traffic(d Definition, partition int32, versioned bool) *rapid.Generator[[]Message] {
	return rapid.Custom(func(t *rapid.T) []Message {
		var all []Message
		for k := range rapid.IntRange(1, 3).Draw(t, "entities") {
			all = append(all, walk(t, newMachine(d), fmt.Sprintf("%d-%d", partition, k), versioned)...)
		}
		all = disturb(t, newMachine(d), all, versioned)
		for i := range all {
			all[i].Origin = versioning.Origin{Topic: "t", Partition: partition, Offset: int64(i)}
		}
		return all
	})
}

func walk(t *rapid.T, m machine, key string, versioned bool) (messages []Message) {
	state := statemachine.None
	for i := range rapid.IntRange(0, 8).Draw(t, "length") {
		events := m.events(state)
		if len(events) == 0 {
			break
		}
		part := Part{Key: key, Event: rapid.SampledFrom(events).Draw(t, "event"), Expected: -1}
		if versioned {
			part.Expected = int64(i)
		}
		state = rapid.SampledFrom(m.targets(state, part.Event)).Draw(t, "target")
		m.request(t, &part)
		messages = append(messages, Message{ID: fmt.Sprintf("%s-%d", key, i), Parts: []Part{part}})
	}
	return messages
}

// disturb adds the faults of producers and brokers to messages.
func disturb(t *rapid.T, m machine, all []Message, versioned bool) []Message {
	for n := range rapid.IntRange(0, 10).Draw(t, "faults") {
		if len(all) == 0 {
			return all
		}
		at := rapid.IntRange(0, len(all)-1).Draw(t, "at")
		to := rapid.IntRange(0, len(all)-1).Draw(t, "to")
		switch rapid.IntRange(0, m.lastFault()).Draw(t, "fault") {
		case 0: // the producer sends it twice
			all = slices.Insert(all, to, all[at])
		case 1: // it arrives earlier or later
			all[at], all[to] = all[to], all[at]
		case 2: // it never arrives
			all = slices.Delete(all, at, at+1)
		case 3: // an unrelated message
			event := statemachine.Event("stranger")
			if rapid.Bool().Draw(t, "known") {
				event = m.Transitions[rapid.IntRange(0, len(m.Transitions)-1).Draw(t, "transition")].Event
			}
			stranger := Part{Key: all[at].Parts[0].Key, Event: event, Expected: -1}
			if versioned && rapid.IntRange(0, 9).Draw(t, "unversioned") > 0 {
				stranger.Expected = int64(rapid.IntRange(0, 9).Draw(t, "expected"))
			}
			m.request(t, &stranger)
			all = slices.Insert(all, to, Message{ID: fmt.Sprint("stranger-", n), Parts: []Part{stranger}})
		case 4: // merge two messages: both of their changes, or none
			if at != to {
				all[to].Parts = slices.Concat(all[to].Parts, all[at].Parts)
				all = slices.Delete(all, at, at+1)
			}
		case 5: // another message with the same ID
			other := all[rapid.IntRange(0, len(all)-1).Draw(t, "other")]
			all = slices.Insert(all, to, Message{ID: all[at].ID, Parts: other.Parts})
		case 6: // another message with the same ID that differs only in its data
			parts := slices.Clone(all[at].Parts)
			m.request(t, &parts[0])
			all = slices.Insert(all, to, Message{ID: all[at].ID, Parts: parts})
		}
	}
	return all
}
