package pawltest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pawl-go/pawl/versioning"
)

// test returns a play as a Go test.
func (k *walker) test(p *play, f *fault) string {
	w := scriptWriter{walker: k, play: p, names: make(map[int]string), isTwice: strings.HasPrefix(f.kind, "a message ")}
	for _, a := range p.script {
		if a.kind == redeliver || a.kind == resend {
			w.names[a.of] = "" // gets a name when it is given
		}
	}
	k.begin(&w.Builder)
	fmt.Fprintf(&w, "\tw := pawltest.New(t, %s.Config)\n", k.Name)
	for _, a := range p.script {
		w.action(a)
	}
	if w.last != "" {
		fmt.Fprintf(&w, "\t%s.Want(versioning.Duplicate)\n", w.last)
	}
	if strings.HasPrefix(f.kind, "invariant ") {
		fmt.Fprintf(&w, "\tw.Hold(%s.Invariants...)\n", k.Name)
	}
	w.WriteString("}\n")
	return w.String()
}

// A scriptWriter writes a script as Go code.
type scriptWriter struct {
	*walker
	strings.Builder

	play    *play
	names   map[int]string // of the deliveries that are needed again, by the id of their record
	named   int
	isTwice bool   // the script shows that a message has taken effect twice
	last    string // the delivery of a message that was sent again
}

// name returns a new name of a delivery.
func (w *scriptWriter) name() string {
	w.named++
	return "d" + strconv.Itoa(w.named)
}

func (w *scriptWriter) action(a action) {
	switch a.crash {
	case noCrash:
	case crashBeforeCommit:
		w.WriteString("\tw.CrashBeforeCommit()\n")
	case crashAfterCommit:
		w.WriteString("\tw.CrashAfterCommit()\n")
	}
	w.WriteByte('\t')
	switch a.kind {
	case give:
		if _, again := w.names[a.id]; again {
			w.names[a.id] = w.name()
			w.WriteString(w.names[a.id] + " := ")
		}
		w.WriteString(w.call("w", w.play.byID[a.id].message))
	case redeliver:
		w.WriteString(w.names[a.of] + ".Redeliver()")
	case resend:
		if w.isTwice {
			w.last = w.name()
			w.WriteString(w.last + " := ")
		}
		w.WriteString(w.names[a.of] + ".Resend()")
	case nextTimer:
		w.WriteString("w.NextTimer()")
	}
	w.WriteByte('\n')
}

// begin writes the head of a test.
func (k *walker) begin(b *strings.Builder) {
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' {
			return r
		}
		return '_'
	}, k.t.Name())
	if !strings.HasPrefix(name, "Test") {
		name = "Test" + name
	}
	fmt.Fprintf(b, "func %s_shortest(t *testing.T) {\n", name)
}

// call returns the call that delivers a message.
func (k *walker) call(worker string, m *message) string {
	if m.raw != nil {
		return worker + ".Send(" + k.record(m.raw) + ")"
	}
	if len(m.changes) == 1 && k.isPlain(&m.changes[0]) {
		c := &m.changes[0]
		name := c.Key
		if len(k.cfg.Tables) > 1 {
			name = c.Machine + "/" + c.Key
		}
		return fmt.Sprintf("%s.Give(%q, %q, %s)", worker, name, c.Event, k.coder.data(c.Data))
	}
	parts := make([]string, len(m.changes))
	for i := range m.changes {
		parts[i] = k.change(&m.changes[i])
	}
	return worker + ".Change(" + strings.Join(parts, ", ") + ")"
}

// isPlain reports whether Give can make a change.
func (k *walker) isPlain(c *versioning.Change) bool {
	_, versioned := c.Expected.Version()
	return k.cfg.machine(c.Machine) != nil && !versioned && len(c.Set) == 0 && c.FormerID == "" && isGivenID(c.MessageID)
}

// isGivenID reports whether the kit has given a message its ID, which it does again.
func isGivenID(id string) bool { return strings.HasPrefix(id, nextID(0)[:len(nextID(0))-1]) }

func (k *walker) change(c *versioning.Change) string {
	var b strings.Builder
	b.WriteString("versioning.Change{")
	if c.Machine != "" {
		fmt.Fprintf(&b, "Machine: %q, ", c.Machine)
	}
	fmt.Fprintf(&b, "Key: %q, Event: %q", c.Key, c.Event)
	if !isGivenID(c.MessageID) {
		fmt.Fprintf(&b, ", MessageID: %q", c.MessageID)
	}
	if version, ok := c.Expected.Version(); ok {
		fmt.Fprintf(&b, ", Expected: versioning.At(%d)", version)
	}
	if len(c.Set) > 0 {
		b.WriteString(", Set: " + k.coder.data(c.Set))
	}
	if c.Data != nil {
		b.WriteString(", Data: " + k.coder.data(c.Data))
	}
	return b.String() + "}"
}

func (k *walker) record(r *Record) string {
	parts := make([]string, 0, 6)
	add := func(field, code string) { parts = append(parts, field+": "+code) }
	if r.Topic != "" {
		add("Topic", strconv.Quote(r.Topic))
	}
	if r.Partition != 0 {
		add("Partition", strconv.Itoa(int(r.Partition)))
	}
	if r.Key != "" {
		add("Key", strconv.Quote(r.Key))
	}
	if r.Value != nil {
		add("Value", k.recordValue(r))
	}
	if len(r.Headers) > 0 {
		headers := make([]string, 0, len(r.Headers))
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			headers = append(headers, strconv.Quote(name)+": "+strconv.Quote(r.Headers[name]))
		}
		add("Headers", "map[string]string{"+strings.Join(headers, ", ")+"}")
	}
	if !r.Time.IsZero() {
		if code, ok := k.coder.value(r.Time); ok {
			add("Time", code)
		}
	}
	return "pawltest.Record{" + strings.Join(parts, ", ") + "}"
}

// recordValue returns the code of a record's value: as it is, or else its bytes.
func (k *walker) recordValue(r *Record) string {
	_, isBytes := r.Value.([]byte)
	if code, ok := k.coder.value(r.Value); ok && !isBytes {
		return code
	}
	value, err := r.value()
	if err != nil {
		return fmt.Sprintf("nil /* %v */", err)
	}
	return quoteGo(string(value))
}
