package versioningtest

import (
	"errors"
	"strings"
	"time"

	"github.com/pawl-go/pawl/statemachine"
)

// lamp is a machine whose transitions cause what their events say.
const lamp = "lamp"

// lifetime is how long a lamp may be on.
const lifetime = 24 * time.Hour

var lampMachine = statemachine.MustCompile(statemachine.Definition{
	Name: lamp, Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "lit", To: "on", Do: statemachine.Do(shine)},
		{Event: "dimmed", From: statemachine.In("on"), To: "on", Do: statemachine.Do(shine)},
		{Event: "darkened", From: statemachine.In("on"), To: "off", Do: statemachine.Do(shine)},
		{Event: "relit", From: statemachine.In("off"), To: "on", Do: statemachine.Do(shine)},
		{Event: "burnt", From: statemachine.In("on"), To: "dead", After: lifetime},
	},
	Terminal: statemachine.In("dead"),
})

// A signal says what a transition should cause: words with commas in between. "refuse"
// refuses the record, "job:x" enqueues a job, "at:1h" sets a timer, and any other word is
// a message. "to:x" is a message to topic x with a key and a header, and "bad"
// one that can't be encoded.
type signal struct{ Say string }

func shine(f *statemachine.Firing, row *accountRow, s signal) error {
	row.Debits++
	for word := range strings.SplitSeq(s.Say, ",") {
		kind, value, _ := strings.Cut(word, ":")
		switch kind {
		case "":
		case "refuse":
			return errRefused
		case "job":
			f.Enqueue(value)
		case "at":
			after, err := time.ParseDuration(value)
			if err != nil {
				return err
			}
			f.At("burnt", f.Time.Add(after))
		case "to":
			f.EmitMessage(statemachine.Message{
				Topic: value, Key: []byte("own"), Value: []byte{0, 0xff}, Headers: []statemachine.Header{{Key: "h", Value: []byte("v")}},
			})
		case "bad":
			f.Emit("signals", errors.ErrUnsupported.Error) // a func, which is no JSON
		default:
			f.Emit("signals", word)
		}
	}
	return nil
}
