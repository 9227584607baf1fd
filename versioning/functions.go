package versioning

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"

	"github.com/pawl-go/pawl/statemachine"
)

// A RowCodec converts a machine's rows between the form in which a store reads and writes
// them, which the fold does not look into, and the row type of the machine's functions.
// It is safe for concurrent use.
//
// The fold keeps rows in the store's form only, and loads a row for each function that it
// calls. So a function can change nothing but the row that it was given, whatever that
// contains, and undoing a step means going back to the form from before the step.
type RowCodec interface {
	// Load returns a pointer to a new row that shares no memory with data. data is a
	// Row.Data that the store has read, a result of Store, or nil for an entity that
	// does not exist yet.
	Load(data any) (row any, err error)

	// Store returns the data of a row after a step. before is the data from which the
	// row was loaded. Store must neither change it nor keep the row.
	Store(before, row any) (after any, err error)

	// IsFlat reports whether a Go assignment copies a row completely, because it has no
	// pointers, slices or maps.
	IsFlat() bool

	// ReadsBack reports whether a row has values that only the database knows after a
	// step, because it computes them when it writes the row. created says whether the row
	// is a new one; after is its data, nil if no action has computed it. Then the fold
	// makes no second step of the entity: see [Plan.Outcomes].
	ReadsBack(created bool, after any) bool
}

// Functions is what a fold needs to call the functions of a machine. It is safe for
// concurrent use.
type Functions struct {
	rows    RowCodec
	columns map[string]bool // of the row type
	data    map[statemachine.Event]*DataType
}

// NewFunctions returns the functions of a machine, or nil if the machine has none. The
// error lists the problems of [RowFields], and the event types whose values can't be
// stored with a parked record.
func NewFunctions(m *statemachine.Machine, rows RowCodec) (*Functions, error) {
	if m.RowType() == nil {
		return nil, nil
	}
	f := &Functions{rows: rows, columns: make(map[string]bool), data: make(map[statemachine.Event]*DataType)}
	fields, err := RowFields(m.RowType())
	problems := []error{err}
	for _, field := range fields {
		f.columns[field.Column] = true
	}
	for _, e := range m.Events() {
		if m.EventType(e) == nil {
			continue
		}
		d, err := DataTypeOf(m.EventType(e))
		if err != nil {
			problems = append(problems, fmt.Errorf("machine %q: the data of event %q: %w", m.Name(), e, err))
		}
		f.data[e] = d
	}
	return f, errors.Join(problems...)
}

// nothing is the type of data that says nothing.
var nothing = reflect.TypeFor[struct{}]()

// dataOf returns the type of an event's data, or nil if its functions take none.
func (f *Functions) dataOf(e statemachine.Event) *DataType {
	if f == nil {
		return nil
	}
	return f.data[e]
}

// prepare checks a change of a machine with functions, and encodes its data. That calls
// methods of the data, which may panic.
func (f *Functions) prepare(r *Record, change int) (err error) {
	if f == nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = unmarshalable(r.Changes[change].Event, p)
		}
	}()
	for name := range r.Changes[change].Set {
		if f.columns[name] {
			return Refuse(ReasonInvalidColumn, "column %q is in the machine's row type, so its functions compute it; remove it from Set", name)
		}
	}
	return f.prepareData(r, change)
}

// unmarshalable returns the refusal of data whose methods panic.
func unmarshalable(e statemachine.Event, panicked any) error {
	return Refuse(ReasonInvalidData, "the data of event %q: %w", e, &PanicError{Callback: "a method of the data", Value: panicked, Stack: debug.Stack()})
}

// prepareData checks the data of a change against the type that the functions of its event
// take, and encodes it. It decodes data that is JSON.
func (f *Functions) prepareData(r *Record, change int) error {
	c := &r.Changes[change]
	d := f.dataOf(c.Event)
	if d == nil {
		return nil
	}
	if raw, ok := c.Data.(json.RawMessage); ok && d.Type() != reflect.TypeFor[json.RawMessage]() {
		value := reflect.New(d.Type())
		if err := json.Unmarshal(raw, value.Interface()); err != nil {
			return Refuse(ReasonInvalidData, "the data of event %q: %w", c.Event, err)
		}
		c.Data = value.Elem().Interface()
	}
	switch {
	case d.Type() == nothing && (c.Data == nil || reflect.TypeOf(c.Data) == nothing):
		return nil // nothing to encode, whichever way it is written
	case c.Data == nil:
		return Refuse(ReasonInvalidData, "event %q takes a %v, but the change has no data; set Change.Data", c.Event, d.Type())
	case reflect.TypeOf(c.Data) != d.Type():
		return Refuse(ReasonInvalidData, "event %q takes a %v, but Change.Data is a %T", c.Event, d.Type(), c.Data)
	}
	encoded, err := d.Encode(c.Data)
	if err != nil {
		return Refuse(ReasonInvalidData, "the data of event %q: %w", c.Event, err)
	}
	if r.Encoded == nil {
		r.Encoded = make([][]byte, len(r.Changes))
	}
	r.Encoded[change] = encoded
	return nil
}

// DecodeData restores the data of a change, and Record.Encoded, from what Record.Encoded
// had for it. If the event takes no data any more, the change gets none. It returns a
// [*Refusal] if the change can't be made any more: the data does not fit its type, or the
// change sets a column that functions compute now.
func (rules *Rules) DecodeData(r *Record, change int, encoded []byte) (err error) {
	c := &r.Changes[change]
	defer func() {
		if p := recover(); p != nil {
			err = unmarshalable(c.Event, p)
		}
	}()
	if d := rules.Functions.dataOf(c.Event); d != nil && encoded != nil {
		data, err := d.Decode(encoded)
		if err != nil {
			return Refuse(ReasonInvalidData, "the stored data of event %q: %w", c.Event, err)
		}
		c.Data = data
	}
	return rules.Functions.prepare(r, change)
}
