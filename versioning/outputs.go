package versioning

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/pawl-go/pawl/statemachine"
)

// Outputs is what one step causes. It is written in the transaction that makes the step.
type Outputs struct {
	Messages []OutMessage
	Jobs     []any
	Timers   []statemachine.Timer
}

// An OutMessage is a message to publish.
type OutMessage struct {
	Topic   string
	Key     []byte // nil is no key
	Value   []byte // nil is a tombstone
	Headers []Header

	// ContentType is the media type of Value. Empty means that it is unknown, or that Headers
	// say it.
	ContentType string
}

// contentType is the header with the media type of a message's value.
const contentType = "content-type"

// An EncodeFunc encodes the value of a message to a topic. It must be a pure function, as
// actions are: it is called each time a record is judged. If it returns an error or panics,
// the record is rejected.
type EncodeFunc func(topic string, value any) ([]byte, error)

// A CheckJobFunc says why a queue can't take a job. If it returns an error or panics, the
// record is rejected. It must be a pure function, as actions are, and must not keep the job.
type CheckJobFunc func(job any) error

// Limits for the outputs of one step.
const (
	maxOutputs      = 1000
	maxMessageBytes = 16 << 20 // of all messages of a step
	maxTopicBytes   = 249      // as in Kafka
)

// errNoQueue says what to do about a job that can't be stored.
var errNoQueue = errors.New("the table has no queue for jobs; set Table.Queue: package jobs has one")

// outputs returns what an action has asked for, checked and encoded.
func (e *entity) outputs(f *statemachine.Firing, r *Record) (*Outputs, error) {
	asked := f.Outputs()
	if asked == nil {
		return nil, nil
	}
	if n := len(asked.Messages) + len(asked.Jobs) + len(asked.Timers); n > maxOutputs {
		return nil, fmt.Errorf("it asks for %d outputs; the limit is %d", n, maxOutputs)
	}
	for i, job := range asked.Jobs {
		if err := e.rules.checkJob(job); err != nil {
			return nil, fmt.Errorf("job %d, a %T: %w", i, job, err)
		}
	}
	for _, t := range asked.Timers {
		if err := e.checkTimer(t); err != nil {
			return nil, err
		}
	}
	out := &Outputs{Jobs: asked.Jobs, Timers: asked.Timers, Messages: make([]OutMessage, len(asked.Messages))}
	size := 0
	for i := range asked.Messages {
		m, err := e.encode(f.Key, &asked.Messages[i])
		if err != nil {
			return nil, fmt.Errorf("the message to topic %.300q: %w", asked.Messages[i].Topic, err)
		}
		m.Headers = passHeaders(m.Headers, e.rules.PassHeaders, r)
		if size += m.size(); size > maxMessageBytes {
			return nil, fmt.Errorf("its messages have more than %d bytes", maxMessageBytes)
		}
		out.Messages[i] = m
	}
	return out, nil
}

// checkTimer checks a timer that an action has set.
func (e *entity) checkTimer(t statemachine.Timer) error {
	switch {
	case !e.rules.Machine.HasEvent(t.Event):
		return fmt.Errorf("it sets a timer for event %q, which machine %q does not have", t.Event, e.rules.Machine.Name())
	case !e.rules.Machine.TakesNoData(t.Event):
		return fmt.Errorf("it sets a timer for event %q, whose functions take data; a timer has none", t.Event)
	case t.At.Year() < 1 || t.At.Year() > 9999:
		return fmt.Errorf("it sets a timer for event %q in the year %d", t.Event, t.At.Year())
	}
	return nil
}

// checkJob calls the queue's check, which may panic, as may a method of the job.
func (r *Rules) checkJob(job any) (err error) {
	if r.CheckJob == nil {
		return errNoQueue
	}
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Callback: "the queue's check of a job", Value: p, Stack: debug.Stack()}
		}
	}()
	return r.CheckJob(job)
}

// encode checks and encodes a message.
func (e *entity) encode(key string, asked *statemachine.Message) (m OutMessage, err error) {
	if err := checkTopic(asked.Topic); err != nil {
		return OutMessage{}, err
	}
	m = OutMessage{Topic: asked.Topic, Key: asked.Key}
	if m.Key == nil {
		m.Key = []byte(key)
	}
	for _, h := range asked.Headers {
		if strings.HasPrefix(h.Key, "ce_") || !StorableText(h.Key) {
			return OutMessage{}, fmt.Errorf("the header key %q is reserved or not valid UTF-8", h.Key)
		}
		m.Headers = append(m.Headers, Header(h))
	}
	if e.rules.TextKeys && !StorableText(string(m.Key)) {
		return OutMessage{}, errors.New("its key is not valid UTF-8, which Debezium's outbox event router needs")
	}
	switch value := asked.Value.(type) {
	case nil:
	case []byte:
		m.Value = value
	default:
		m.Value, err = e.rules.encodeValue(asked.Topic, value)
		m.ContentType = e.rules.contentType(m.Headers)
	}
	return m, err
}

// encodeValue encodes the value of a message. A codec, or a method of the value, may panic.
func (r *Rules) encodeValue(topic string, value any) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Callback: "the codec of topic " + topic, Value: p, Stack: debug.Stack()}
		}
	}()
	if r.Encode != nil {
		return r.Encode(topic, value)
	}
	return json.Marshal(value)
}

// contentType returns the media type of an encoded value, unless the message's own headers say
// it.
func (r *Rules) contentType(headers []Header) string {
	switch {
	case slices.ContainsFunc(headers, func(h Header) bool { return h.Key == contentType }):
		return ""
	case r.Encode == nil:
		return "application/json"
	}
	return r.ContentType
}

// checkTopic checks a name as Kafka does.
func checkTopic(name string) error {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("the topic has no name")
	case len(name) > maxTopicBytes:
		return fmt.Errorf("the topic's name has %d bytes; the limit is %d", len(name), maxTopicBytes)
	case strings.ContainsFunc(name, func(r rune) bool { return !legal(r) }):
		return errors.New("the topic's name may have only letters, digits, '.', '_' and '-'")
	}
	return nil
}

// size returns the approximate size of the message, in bytes.
func (m *OutMessage) size() int {
	n := len(m.Topic) + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// A Timer is an armed timer: an event that happens to an entity when it is due, unless the
// entity has left the state in which it was armed.
type Timer struct {
	Event   statemachine.Event
	Version int64 // the entity's version when it was armed
	Due     time.Time

	// Replaces reports whether an earlier move may have armed a timer for the same event,
	// which this one replaces.
	Replaces bool
}

// Timers returns the timers that a move arms: those of the state that the entity is in after
// it, if the move has entered that state, and those that actions have set since. Of several
// for one event, it returns the last one. now is the time of the transaction, by the
// database's clock.
func (m *Move) Timers(machine *statemachine.Machine, now time.Time) (timers []Timer) {
	if !machine.HasDeadlines() && machine.RowType() == nil { // nothing can arm a timer
		return nil
	}
	entered := -1 // the step that has entered the state
	for i := range m.Steps {
		if m.Steps[i].From != m.Steps[i].To {
			entered = i
		}
	}
	set := func(t Timer) {
		for i := range timers {
			if timers[i].Event == t.Event {
				timers[i] = t
				return
			}
		}
		timers = append(timers, t)
	}
	if entered >= 0 {
		step := &m.Steps[entered]
		for _, d := range machine.Deadlines(step.To) {
			since := now
			if d.Clock == statemachine.RecordClock {
				since = step.Record.Timestamp
			}
			set(Timer{Event: d.Event, Version: step.Version, Due: d.Due(since)})
		}
	}
	for i := max(entered, 0); i < len(m.Steps); i++ {
		if out := m.Steps[i].Outputs; out != nil {
			for _, t := range out.Timers {
				set(Timer{Event: t.Event, Version: m.Steps[i].Version, Due: t.At, Replaces: entered < 0})
			}
		}
	}
	return timers
}

// isVoid reports whether a timer's event no longer is to happen: the entity is gone, or it
// has left the state in which the timer was armed, or the timer was replaced.
func (e *entity) isVoid(c *Change) bool {
	if e.version < c.Armed || e.Row.Gone || e.Entered > c.Armed || e.Rearmed[c.Event] > c.Armed {
		return true
	}
	for i := range e.steps {
		s := &e.steps[i]
		if s.Version <= c.Armed {
			continue
		}
		if s.From != s.To || s.Outputs != nil && s.Outputs.arms(c.Event) {
			return true
		}
	}
	return false
}

func (o *Outputs) arms(e statemachine.Event) bool {
	for _, t := range o.Timers {
		if t.Event == e {
			return true
		}
	}
	return false
}
