package banklog

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/pawl-go/pawl/statemachine"
)

// A Message is one event of a case, to be sent to a topic.
type Message struct {
	Case    string
	Event   statemachine.Event
	ID      string
	Version int64 // version of the case before the event
	Extra   bool  // not from the log: bad on purpose
}

// Faults says what goes wrong between the producer and the topic.
type Faults struct {
	Redelivered float64 // share of messages that are sent a second time, later
	Moved       float64 // share of messages that are up to MovedBy places late or early
	MovedBy     int
	Extra       float64            // number of bad messages, as a share of the log's messages
	First       statemachine.Event // the event that creates a case; used to make illegal messages
}

// Traffic assigns the log's messages to partitions by case, interleaves the
// cases and applies the faults. The same arguments give the same traffic.
func (l *Log) Traffic(seed uint64, partitions int, faults Faults) [][]Message {
	random := rand.New(rand.NewPCG(seed, 0))
	lanes := l.interleave(random, partitions)
	for i := range lanes {
		lanes[i] = faults.apply(random, lanes[i])
	}
	return lanes
}

// interleave merges the cases of each partition at random and keeps the order
// within each case. About a hundred cases are open at any time.
func (l *Log) interleave(random *rand.Rand, partitions int) [][]Message {
	const open = 100
	lanes := make([][]Message, partitions)
	for p := range lanes {
		var running [][]Message
		next := p
		for {
			for len(running) < open && next < len(l.Cases) {
				running = append(running, l.Cases[next].messages())
				next += partitions
			}
			if len(running) == 0 {
				break
			}
			i := random.IntN(len(running))
			lanes[p] = append(lanes[p], running[i][0])
			if running[i] = running[i][1:]; len(running[i]) == 0 {
				running[i] = running[len(running)-1]
				running = running[:len(running)-1]
			}
		}
	}
	return lanes
}

func (c Case) messages() []Message {
	messages := make([]Message, 0, len(c.Events)+1)
	for i, event := range append(slices.Clip(c.Events), End) {
		messages = append(messages, Message{Case: c.ID, Event: event, ID: c.ID + "-" + strconv.Itoa(i), Version: int64(i)})
	}
	return messages
}

func (f Faults) apply(random *rand.Rand, lane []Message) []Message {
	at := make([]placed, 0, len(lane))
	for i, m := range lane {
		place := float64(i)
		if random.Float64() < f.Moved {
			place += float64(random.IntN(2*f.MovedBy+1)-f.MovedBy) + 0.5
		}
		at = append(at, placed{place, m})
		if random.Float64() < f.Redelivered {
			at = append(at, placed{place + random.Float64()*(float64(len(lane))-place), m})
		}
		if random.Float64() < f.Extra {
			at = append(at, placed{place, broken(m, f.First, random)})
		}
	}
	return sorted(at)
}

// placed is a message and its position in a partition.
type placed struct {
	place   float64
	message Message
}

func sorted(at []placed) []Message {
	slices.SortStableFunc(at, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
	messages := make([]Message, len(at))
	for i := range at {
		messages[i] = at[i].message
	}
	return messages
}

// broken returns a message that no case can apply: an event the process does
// not have, a message that cannot be decoded (an empty event), or a second
// creation of the case.
func broken(m Message, first statemachine.Event, random *rand.Rand) Message {
	m.Extra = true
	m.ID += "-extra"
	switch kind := random.IntN(3); {
	case kind == 0 && m.Version > 0:
		m.Event = first
	case kind == 1:
		m.Event = ""
	default:
		m.Event = "never heard of"
	}
	return m
}
