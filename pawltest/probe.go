package pawltest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A probe is the input of a transition's functions.
type probe struct {
	machine *statemachine.Machine
	rows    *rowType
	values  rowValues // before the step
	types   map[statemachine.Event]*versioning.DataType
	data    any
	firing  statemachine.Firing
}

// An answer is what functions have made of a probe.
type answer struct {
	branch int    // the one that was taken, or -1
	text   string // everything that counts, as text
	fault  string // what a function has done that it must not do
}

// key returns a text that is the same for equal inputs.
func (p *probe) key() (string, error) {
	row, err := p.rows.Load(p.values)
	if err != nil {
		return "", err
	}
	f := &p.firing
	b := fmt.Appendf(nil, "%s/%s %s %q v%d %d\n", f.Machine, f.Key, f.Event, f.From, f.Version, f.Time.UnixNano())
	b = append(p.rows.appendTo(b, row), '\n')
	return string(p.appendData(b, p.data)), nil
}

func (p *probe) appendData(b []byte, data any) []byte {
	if t := p.types[p.firing.Event]; t != nil && data != nil && reflect.TypeOf(data) == t.Type() {
		return appendData(b, t, data)
	}
	return fmt.Appendf(b, "%v", data)
}

// input returns copies of the row and the data.
func (p *probe) input() (row, data any, err error) {
	if row, err = p.rows.Load(p.values); err != nil {
		return nil, nil, err
	}
	if t := p.types[p.firing.Event]; t != nil && p.data != nil {
		data, err = t.Clone(p.data)
	}
	return row, data, err
}

// call calls the functions as the fold does.
func (p *probe) call() (a answer) {
	a.branch = -1
	defer func() {
		if v := recover(); v != nil {
			a.text = fmt.Sprintf("panic: %v", v)
			a.fault = fmt.Sprintf("it panics: %v\n%s", v, trimStack(debug.Stack()))
		}
	}()
	for i, b := range p.machine.Branches(p.firing.From, p.firing.Event) {
		row, data, err := p.input()
		if err != nil {
			return answer{-1, "error: " + err.Error(), ""}
		}
		if b.IsConditional() {
			before := p.appendData(p.rows.appendTo(nil, row), data)
			holds := b.Holds(row, data)
			if after := p.appendData(p.rows.appendTo(nil, row), data); string(before) != string(after) {
				return answer{i, "", fmt.Sprintf("the condition %q changes its arguments:\n  before: %s\n  after:  %s", b.Label(), before, after)}
			}
			if !holds {
				continue
			}
			if row, data, err = p.input(); err != nil {
				return answer{-1, "error: " + err.Error(), ""}
			}
		}
		return p.act(i, &b, row, data)
	}
	return answer{-1, "no condition holds", ""}
}

// act calls the action of a branch.
func (p *probe) act(index int, b *statemachine.Branch, row, data any) answer {
	firing := p.firing
	firing.To = b.To
	before := p.appendData(nil, data)
	err := b.Act(&firing, row, data)
	if after := p.appendData(nil, data); string(before) != string(after) {
		return answer{index, "", fmt.Sprintf("the action changes the event's data:\n  before: %s\n  after:  %s", before, after)}
	}
	out := fmt.Appendf(nil, "to: %s\n", b.To)
	switch {
	case statemachine.IsNotYet(err):
		out = fmt.Appendf(out, "not yet: %v\n", err)
	case err != nil:
		out = fmt.Appendf(out, "refused: %v\n", err)
	default:
		out = append(p.rows.appendTo(append(out, "row: "...), row), '\n')
		out = appendOutputs(out, firing.Outputs())
	}
	return answer{index, string(out), ""}
}

// appendOutputs appends what an action has asked for.
func appendOutputs(b []byte, out *statemachine.Outputs) []byte {
	if out == nil {
		return b
	}
	for _, m := range out.Messages {
		b = fmt.Appendf(b, "message: topic %q key %q value ", m.Topic, m.Key)
		b = append(appendAny(b, m.Value), '\n')
		for _, h := range m.Headers {
			b = fmt.Appendf(b, "  header %s: %q\n", h.Key, h.Value)
		}
	}
	for _, j := range out.Jobs {
		b = append(appendAny(fmt.Appendf(b, "job: %T ", j), j), '\n')
	}
	for _, t := range out.Timers {
		b = fmt.Appendf(b, "timer: %s at %s\n", t.Event, t.At.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"))
	}
	return b
}

// dataTypes has the result of DataTypeOf by type, because that analyzes the type each time. It is
// nil for types whose values can't be stored.
var dataTypes sync.Map

func dataTypeOf(t reflect.Type) *versioning.DataType {
	known, ok := dataTypes.Load(t)
	if !ok {
		of, err := versioning.DataTypeOf(t)
		if err != nil {
			of = nil
		}
		known, _ = dataTypes.LoadOrStore(t, of)
	}
	of, _ := known.(*versioning.DataType)
	return of
}

// appendAny appends a value of any type as text, in which equal values are equal.
func appendAny(b []byte, value any) []byte {
	if raw, ok := value.([]byte); ok {
		return append(b, raw...)
	}
	if value != nil {
		if t := dataTypeOf(reflect.TypeOf(value)); t != nil {
			return appendData(b, t, value)
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Appendf(b, "%#v", value)
	}
	return append(b, text...)
}

// trimStack returns the part of a stack that begins at the panic, without the kit.
func trimStack(stack []byte) string {
	lines := strings.Split(string(stack), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "panic(") && i+2 < len(lines) {
			lines = lines[i+2:]
			break
		}
	}
	return strings.Join(lines[:min(len(lines), 4)], "\n")
}
