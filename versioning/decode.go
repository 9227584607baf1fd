package versioning

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// The headers of CloudEvents that identify a message.
const (
	sourceHeader = "ce_source"
	idHeader     = "ce_id"
)

// Decode sets Changes and Err to what decode returns. A worker calls it for each
// record that it reads, and a redrive calls it for each dead letter: so both treat a
// record alike, whatever decode does.
//
// A change without a message ID gets the one of the record's CloudEvents headers. That
// is "ce_source" and "ce_id" together, because an ID is unique for its source only: the
// source, a space and the ID, with "\ " for a space and "\\" for a backslash in the
// source. Without a source it is the ID alone, after a space if the ID contains one. A
// history that knows messages by "ce_id" alone, as earlier versions wrote it, still proves
// their duplicates. Where "ce_id" is
// missing or empty the ID stays empty, and so becomes the record's origin.
//
// If decode panics, Err is a [*PanicError].
func (r *Record) Decode(decode func(*Record) ([]Change, error)) {
	r.Changes, r.Err = safely(decode, r)
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

// Header returns the value of the record's first header with a key, and whether there
// is one.
func (r *Record) Header(key string) (value []byte, ok bool) {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// messageID returns the message ID that the record's headers carry, and the one by
// which the history of an earlier version knows the message.
func (r *Record) messageID() (id, former string) {
	value, _ := r.Header(idHeader)
	if len(value) == 0 {
		return "", ""
	}
	id = string(value)
	source, _ := r.Header(sourceHeader)
	if len(source) == 0 && !strings.Contains(id, " ") {
		return id, "" // a source and an ID have a space between them
	}
	return escapeSource.Replace(string(source)) + " " + id, id
}

// escapeSource leaves a source no space except behind a backslash, so that the first
// other space ends it, whatever follows. It changes no URI reference, which a source
// must be in CloudEvents: those contain neither character.
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
	Stack    []byte // of the goroutine, as debug.Stack formats it
}

// Error returns the callback, the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("%s panicked: %v\n%s", e.Callback, e.Value, e.Stack)
}

// Unwrap returns the argument of panic, if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
