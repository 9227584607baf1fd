package pawltest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A letter is a kind of message that scripts draw from.
type letter struct {
	entity   versioning.Entity // the first one
	entities []versioning.Entity
	event    statemachine.Event
	rank     int // among the letters of the same event: the simplest one is the first

	// message returns a new message, the one that is sent as the delivery with a number.
	message func(w *world, number int64) *message
}

var errNothingToDraw = errors.New("nothing to draw from; set Walk.Data, Walk.Changes or Walk.Records")

// alphabet returns all letters.
func (k *walker) alphabet(w *world) ([]letter, error) {
	var letters []letter
	if k.Data != nil || k.Records == nil && k.Changes == nil {
		var err error
		if letters, err = k.events(); err != nil {
			return nil, err
		}
	}
	for _, changes := range k.Changes {
		letters = append(letters, k.changeLetter(changes))
	}
	if k.Records != nil {
		for i := range k.Records("m0") {
			l, err := k.recordLetter(w, i)
			if err != nil {
				return nil, err
			}
			letters = append(letters, l)
		}
	}
	if len(letters) == 0 {
		return nil, errNothingToDraw
	}
	ranks := make(map[statemachine.Event]int)
	for i := range letters {
		letters[i].rank = ranks[letters[i].event]
		ranks[letters[i].event]++
	}
	return letters, nil
}

// events returns the letters of single events with the values of Data.
func (k *walker) events() (letters []letter, err error) {
	var missing []string
	known := make(map[statemachine.Event]bool)
	for i := range k.cfg.Tables {
		table := &k.cfg.Tables[i]
		entity := versioning.Entity{Machine: table.Machine.Name(), Key: k.Entity}
		for _, e := range table.Machine.Events() {
			known[e] = true
			values, ok := k.Data[e]
			switch {
			case ok:
			case isOnlyTimer(table.Machine, e):
				continue
			case table.Machine.TakesNoData(e):
				values = []any{nil}
			default:
				missing = append(missing, fmt.Sprintf("%s takes %v", e, table.Machine.EventType(e)))
				continue
			}
			for _, value := range values {
				letters = append(letters, eventLetter(entity, e, value, table.Identity == versioning.ByVersion))
			}
		}
	}
	for e := range k.Data {
		if !known[e] {
			missing = append(missing, fmt.Sprintf("%s is no event of a machine", e))
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, fmt.Errorf("set Walk.Data for every event with data: %s", strings.Join(missing, "; "))
	}
	return letters, nil
}

// isOnlyTimer reports whether all transitions of an event have a deadline.
func isOnlyTimer(m *statemachine.Machine, e statemachine.Event) bool {
	for _, t := range m.Definition().Transitions {
		if t.Event == e && t.After == 0 && t.AfterPeriod.IsZero() {
			return false
		}
	}
	return true
}

func eventLetter(entity versioning.Entity, e statemachine.Event, value any, versioned bool) letter {
	return letter{entity: entity, entities: []versioning.Entity{entity}, event: e, message: func(w *world, number int64) *message {
		c := change(entity, e, value)
		c.MessageID = nextID(number)
		if versioned {
			_, _, version, _ := w.look(entity, false) // in memory it does not fail
			c.Expected = versioning.At(version)
		}
		return &message{changes: []versioning.Change{c}}
	}}
}

// changeLetter returns the letter of a list of changes.
func (k *walker) changeLetter(changes []versioning.Change) letter {
	var l letter
	l.about(k, changes)
	l.message = func(_ *world, number int64) *message {
		m := &message{changes: slices.Clone(changes)}
		for i := range m.changes {
			if m.changes[i].MessageID == "" {
				m.changes[i].MessageID = nextID(number)
			}
		}
		return m
	}
	return l
}

// about sets what a letter is about.
func (l *letter) about(k *walker, changes []versioning.Change) {
	for i := range changes {
		l.entities = append(l.entities, k.entityOf(&changes[i]))
	}
	if len(changes) > 0 {
		l.entity, l.event = l.entities[0], changes[0].Event
	}
}

func (k *walker) entityOf(c *versioning.Change) versioning.Entity {
	e := versioning.Entity{Machine: c.Machine, Key: c.Key}
	if e.Machine == "" && len(k.cfg.Tables) == 1 {
		e.Machine = k.cfg.Tables[0].Machine.Name()
	}
	return e
}

// recordLetter returns the letter of a record.
func (k *walker) recordLetter(w *world, index int) (letter, error) {
	example := k.Records("m0")[index]
	r, err := (&message{raw: &example}).record(w.cfg, 1, w.now)
	if err != nil {
		return letter{}, err
	}
	l := letter{message: func(_ *world, number int64) *message {
		raw := k.Records("m" + strconv.FormatInt(number, 10))[index]
		return &message{raw: &raw}
	}}
	l.about(k, r.Changes)
	if other := k.Records("m1"); len(other) <= index || reflect.TypeOf(other[index].Value) != reflect.TypeOf(example.Value) {
		return letter{}, fmt.Errorf("the Records of another id have another record %d; they must differ in the id only", index)
	}
	return l, nil
}
