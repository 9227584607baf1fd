package pawltest

import (
	"fmt"
	"strings"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// story returns what has happened to an entity.
func (w *world) story(e versioning.Entity) string {
	found, err := w.entity(e)
	if err != nil {
		return fmt.Sprintf("%s: %v\n", e, err)
	}
	var b strings.Builder
	if found.Version == 0 {
		fmt.Fprintf(&b, "%s %s does not exist\n", e.Machine, e.Key)
	} else {
		fmt.Fprintf(&b, "%s %s is %s, version %d%s%s\n", e.Machine, e.Key, found.State, found.Version, sayRow(found.Row), sayColumns(found.Columns))
	}
	section(&b, "steps", found.Steps, func(s Step) string {
		from := " from " + string(s.From)
		if s.From == statemachine.None {
			from = ""
		}
		by := ""
		if s.by > 0 {
			by = fmt.Sprintf(" (delivery %d)", s.by)
		}
		return fmt.Sprintf("%d: %s%s to %s%s", s.Version, s.Event, from, s.To, by)
	})
	section(&b, "messages", found.Messages, func(m Message) string { return m.Topic + " " + string(appendAny(nil, m.Value)) })
	section(&b, "jobs", found.Jobs, func(j any) string { return fmt.Sprintf("%T %+v", j, j) })
	section(&b, "timers", found.Timers, func(t Timer) string { return fmt.Sprintf("%s in %s", t.Event, t.Due.Sub(w.now)) })
	section(&b, "parked", found.Parked, func(p Parked) string { return fmt.Sprintf("delivery %d, %s: %s", p.Delivery, p.Event, p.Reason) })
	section(&b, "dead letters", found.DeadLetters, func(d DeadLetter) string {
		return fmt.Sprintf("delivery %d, %s: %s, %s: %s", d.Delivery, d.Event, d.Verdict, d.Reason, d.Detail)
	})
	section(&b, "deliveries", w.deliveriesFor(e), func(s *sent) string {
		again := ""
		if s.last != s.outcome {
			again = "; delivered again: " + sayOutcome(&s.last)
		}
		return fmt.Sprintf("%d: %s: %s%s", s.number, s.text, sayOutcome(&s.outcome), again)
	})
	section(&b, "timers fired", w.fired, func(s string) string { return s })
	return b.String()
}

// section writes a list with a title, unless it is empty.
func section[T any](b *strings.Builder, title string, all []T, line func(T) string) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "  %s:\n", title)
	for _, one := range all {
		fmt.Fprintf(b, "    %s\n", strings.ReplaceAll(line(one), "\n", "\n      "))
	}
}

func (w *world) deliveriesFor(e versioning.Entity) (all []*sent) {
	for _, s := range w.sent {
		if s.record == nil {
			continue
		}
		if s.record.Err != nil && len(s.record.Changes) == 0 {
			all = append(all, s)
			continue
		}
		for i := range s.record.Changes {
			if s.record.Entity(i) == e {
				all = append(all, s)
				break
			}
		}
	}
	return all
}

// everything returns what has happened to all entities.
func (w *world) everything() string {
	text := ""
	told := make(map[versioning.Entity]bool)
	tell := func(e versioning.Entity) {
		if !told[e] && w.cfg.machine(e.Machine) != nil {
			told[e] = true
			text += w.story(e)
		}
	}
	for _, s := range w.sent {
		if s.record == nil {
			continue
		}
		for i := range s.record.Changes {
			tell(s.record.Entity(i))
		}
	}
	if text != "" {
		return text
	}
	var b strings.Builder
	section(&b, "deliveries", w.sent, func(s *sent) string { return fmt.Sprintf("%d: %s: %s", s.number, s.text, sayOutcome(&s.outcome)) })
	return b.String()
}

func sayOutcome(o *versioning.Outcome) string {
	text := o.Verdict.String()
	if o.Reason != versioning.ReasonNone {
		text += ", " + string(o.Reason)
	}
	if o.Detail != "" {
		text += ": " + o.Detail
	}
	return text
}

func sayRow(row any) string {
	if row == nil {
		return ""
	}
	return fmt.Sprintf(": %+v", row)
}

func sayColumns(columns versioning.Columns) string {
	if len(columns) == 0 {
		return ""
	}
	return fmt.Sprintf(" %v", map[string]any(columns))
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+by)
}
