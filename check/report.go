package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-go/pawl/statemachine"
)

// A Report is what [Run] has found. It can be encoded as JSON.
type Report struct {
	Machines []Machine `json:"machines"`

	// Safe is false if a definition strands entities, or if workers would refuse to start.
	Safe bool `json:"safe"`

	// Same is true if the report is safe and nothing has another outcome than before: there is no
	// change but harmless ones, and no entity of the history would have ended elsewhere.
	Same bool `json:"same"`
}

// A Machine is what was found about one machine.
type Machine struct {
	Name string `json:"name"`
	From int    `json:"from"` // the version in use; 0 if the machine is new
	To   int    `json:"to"`   // the new version

	Changes []Change `json:"changes,omitempty"` // those that strand come first
	Refused string   `json:"refused,omitempty"` // why workers refuse to start, if they do

	// Rows are those in states that the new definition does not have. If Sampled, the table is
	// large and has no index on its state column, so this is about a sample of its rows.
	Rows    []Rows `json:"rows,omitempty"`
	Sampled bool   `json:"sampled,omitempty"`

	History *History `json:"history,omitempty"` // nil if the history was not folded
}

// A Change is a difference between the definitions; see [statemachine.Change].
type Change struct {
	Effect string             `json:"effect"` // "stranding", "changed" or "harmless"
	State  statemachine.State `json:"state,omitempty"`
	Event  statemachine.Event `json:"event,omitempty"`
	Detail string             `json:"detail"`
}

// Rows are the rows in one state.
type Rows struct {
	State    statemachine.State `json:"state"`
	Rows     int64              `json:"rows"`
	Keys     []string           `json:"keys"`     // of some of them
	Stranded bool               `json:"stranded"` // otherwise they are migrated
}

// ErrUnsafe matches the error of [Report.Err], by [errors.Is].
var ErrUnsafe = errors.New("the new definitions are not safe")

// Err returns nil if the report is safe, otherwise an error that matches [ErrUnsafe]. strict
// means that it must also be the same; see [Report].
func (r *Report) Err(strict bool) error {
	switch {
	case !r.Safe:
		return fmt.Errorf("%w: entities would be stranded, or workers would refuse to start", ErrUnsafe)
	case strict && !r.Same:
		return fmt.Errorf("%w: some records would have another outcome", ErrUnsafe)
	}
	return nil
}

// ExitStatus returns the exit status of a command for the error of [Run] or [Report.Err]: 0
// without an error, 1 if the definitions are not safe, and 2 if that could not be checked.
func ExitStatus(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrUnsafe):
		return 1
	}
	return 2
}

// conclude sets Safe and Same.
func (r *Report) conclude() {
	r.Safe, r.Same = true, true
	for i := range r.Machines {
		m := &r.Machines[i]
		has := func(effect statemachine.Effect) bool {
			return slices.ContainsFunc(m.Changes, func(c Change) bool { return c.Effect == effect.String() })
		}
		stranded := slices.ContainsFunc(m.Rows, func(r Rows) bool { return r.Stranded })
		r.Safe = r.Safe && m.Refused == "" && !stranded && !has(statemachine.Stranding)
		r.Same = r.Same && r.Safe && !has(statemachine.Changed) && (m.History == nil || m.History.Same())
	}
}

// String returns the report for people.
func (r *Report) String() string {
	var b strings.Builder
	for i := range r.Machines {
		r.Machines[i].write(&b)
	}
	switch {
	case !r.Safe:
		b.WriteString("not safe: entities would be stranded, or workers would refuse to start\n")
	case !r.Same:
		b.WriteString("safe, but some records have another outcome than before\n")
	default:
		b.WriteString("safe\n")
	}
	return b.String()
}

func (m *Machine) write(b *strings.Builder) {
	switch {
	case m.From == 0:
		fmt.Fprintf(b, "%s: version %d is the first\n", m.Name, m.To)
	case m.From == m.To && len(m.Changes) == 0:
		fmt.Fprintf(b, "%s: version %d is in use\n", m.Name, m.To)
	default:
		fmt.Fprintf(b, "%s: from version %d to %d\n", m.Name, m.From, m.To)
	}
	line := func(label, format string, args ...any) {
		fmt.Fprintf(b, "  %-9s  %s\n", label, fmt.Sprintf(format, args...))
	}
	if m.Refused != "" {
		line("refused", "%s", m.Refused)
	}
	for _, c := range m.Changes {
		line(c.Effect, "%s", c.Detail)
	}
	sample := ""
	if m.Sampled {
		sample = " of a sample of the rows"
	}
	for _, r := range m.Rows {
		label, todo := "migration", "will be migrated"
		if r.Stranded {
			label, todo = "stranding", "would be stranded"
		}
		line(label, "%d%s in state %q %s, such as %s", r.Rows, sample, r.State, todo, strings.Join(r.Keys, ", "))
	}
	if m.History != nil {
		m.History.write(line)
	}
}
