package versioning

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// The CloudEvents headers that identify a message.
const (
	sourceHeader = "ce_source"
	idHeader     = "ce_id"
)

// Decode sets Changes and Err to what decode returns. Workers call it for each record
// that they read, and a redrive calls it for each dead letter, so both treat a record
// in the same way.
//
// If a change has no message ID, Decode takes it from the record's CloudEvents headers
// "ce_source" and "ce_id". It needs both, because an ID is unique only within its
// source. The message ID is the source, a space and the ID; in the source, a space
// becomes "\ " and a backslash "\\". Without a source it is the ID alone, after a space
// if the ID contains one. Earlier versions stored "ce_id" alone; such a history still
// proves duplicates. If "ce_id" is missing or empty, the message ID stays empty, and
// [Prepare] sets it to the record's origin.
//
// If decode panics, Err is a [*PanicError].
func (r *Record) Decode(decode func(*Record) ([]Change, error)) {
	r.Changes, r.Err = safely(decode, r)
	r.Direct = false
	id, former := r.messageID()
	if id == "" {
		return
	}
	for i := range r.Changes {
		if c := &r.Changes[i]; c.MessageID == "" {
			c.MessageID, c.FormerID = id, former
		}
	}
}

// Header returns the value of the record's first header with the given key, and whether
// there is one.
func (r *Record) Header(key string) (value []byte, ok bool) {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// messageID returns the message ID from the record's headers, and the ID under which an
// earlier version stored the message.
func (r *Record) messageID() (id, former string) {
	value, _ := r.Header(idHeader)
	if len(value) == 0 {
		return "", ""
	}
	id = string(value)
	source, _ := r.Header(sourceHeader)
	if whole := CloudEventID(string(source), id); whole != id {
		return whole, id
	}
	return id, ""
}

// CloudEventID returns the message ID of a CloudEvent, as [Record.Decode] makes it from the
// record's headers: the source, a space and the ID. It is for events whose attributes are not in
// headers. An empty ID has no message ID.
func CloudEventID(source, id string) string {
	if id == "" || source == "" && !strings.Contains(id, " ") {
		return id // a source and an ID have a space between them
	}
	return escapeSource.Replace(source) + " " + id
}

// escapeSource escapes the spaces of a source with backslashes, so that the first
// unescaped space ends the source, whatever follows. It leaves URI references
// unchanged, because they contain neither spaces nor backslashes, and CloudEvents
// requires a source to be one.
var escapeSource = strings.NewReplacer(`\`, `\\`, ` `, `\ `)

func safely(decode func(*Record) ([]Change, error), r *Record) (changes []Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Callback: "Decode", Value: p, Stack: debug.Stack()}
		}
	}()
	return decode(r)
}

// A PanicError says that one of the caller's functions panicked.
type PanicError struct {
	Callback string // what panicked, such as "Decode"
	Value    any    // the argument of panic
	Stack    []byte // the stack of the goroutine, as debug.Stack formats it
}

// Error returns the callback, the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("%s panicked: %v\n%s", e.Callback, e.Value, e.Stack)
}

// Unwrap returns the argument of panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
