package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// Older than these, something has probably stopped.
	lateTimer  = time.Minute
	lateOutbox = time.Minute
	lateReader = 10 * time.Minute
	longParked = time.Hour
)

// attend lists what an operator should look at.
func (v *statusView) attend(p *printer, sibling func(string) string) {
	add := func(next, format string, args ...any) {
		v.Attention = append(v.Attention, attention{fmt.Sprintf(format, args...), next})
	}
	old := func(t time.Time, limit time.Duration) bool { return !t.IsZero() && p.now.Sub(t) > limit }
	for i := range v.Machines {
		m := &v.Machines[i]
		name, of := m.Machine, " --machine "+quoted(m.Machine)
		if name == "" {
			name, of = "no machine", ""
		}
		if m.DeadLetters.Count.N > 0 {
			add(sibling("dead-letters list"+of), "%s: %s, the newest %s", name, m.DeadLetters.Count.of("dead letter"), p.ago(m.DeadLetters.Newest))
		}
		if old(m.Parked.Oldest, longParked) {
			add(sibling("parked list"+of), "%s: %s, the oldest has waited %s", name, m.Parked.Count.of("parked record"), p.age(m.Parked.Oldest))
		}
		if old(m.Timers.Oldest, lateTimer) {
			add(sibling("timers list"+of), "%s: %s overdue, the oldest was due %s; is a worker running?", name, count{N: m.Timers.Overdue, AtLeast: m.Timers.AtLeast}.of("timer"), p.ago(m.Timers.Oldest))
		}
		if old(m.CaughtUp, lateReader) {
			add("look at the lag, and whether all workers run", "%s: a partition was last read to its end %s", name, p.ago(m.CaughtUp))
		}
		if m.Problem != "" && m.Table != "" {
			add("see the message", "%s: the rows can't be counted: %s", name, m.Problem)
		}
	}
	if old(v.Outbox.Oldest, lateOutbox) {
		add("look at the health and the log of the workers' relay", "outbox: %s, the oldest was emitted %s", v.Outbox.Messages.of("message"), p.ago(v.Outbox.Oldest))
	}
	if v.Unsent.N > 0 {
		add(sibling("unsent list"), "unsent: the broker has refused %s", v.Unsent.of("message"))
	}
}

// quoted quotes an argument for a shell, if that is needed.
func quoted(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@+", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// print prints the status for people.
func (v *statusView) print(p *printer) {
	p.line("framework schema: version %d, at %s", v.SchemaVersion, stamp(v.At))
	if !v.MessageHashes {
		p.line("the history's primary key has no hashes of messages; docs/upgrading.md says what they are for")
	}
	v.printMachines(p)
	v.printStates(p)
	v.printKept(p)
	v.printGroups(p)
	p.heading("Outbox")
	p.line("%s in %s%s; %s unsent", v.Outbox.Messages.of("message"), v.Outbox.Packs.of("pack"), since(p, ", the oldest emitted ", v.Outbox.Oldest), v.Unsent)
	p.heading("Look at")
	if len(v.Attention) == 0 {
		p.line("nothing")
	}
	for _, a := range v.Attention {
		p.line("%s", p.colors(yellow, visible(a.What)))
		p.line("    %s", visible(a.Next))
	}
}

func since(p *printer, text string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return text + p.ago(t)
}

func (v *statusView) printMachines(p *printer) {
	p.heading("Machines")
	if len(v.Machines) == 0 {
		p.line("none; workers register theirs when they start")
		return
	}
	rows := [][]string{{"MACHINE", "VERSIONS", "TABLE", " ROWS", " PARKED", " DEAD LETTERS", " TIMERS", " OVERDUE", "READ TO THE END"}}
	for i := range v.Machines {
		m := &v.Machines[i]
		timers, overdue := thousands(m.Timers.Pending), thousands(m.Timers.Overdue)
		if m.Timers.AtLeast {
			timers, overdue = timers+"+", overdue+"+"
		}
		total := m.Rows.String()
		if m.Problem != "" || m.Table == "" {
			total = "?"
		}
		rows = append(rows, []string{
			named(m.Machine), versions(m.Versions), orDash(m.Table), total, m.Parked.Count.String(), m.DeadLetters.Count.String(),
			timers, overdue, p.ago(m.CaughtUp),
		})
	}
	p.table(rows)
}

func named(machine string) string {
	if machine == "" {
		return "(none)"
	}
	return machine
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func versions(all []int) string {
	var text []string
	for _, v := range all {
		text = append(text, strconv.Itoa(v))
	}
	return orDash(strings.Join(text, ", "))
}

func (v *statusView) printStates(p *printer) {
	rows := [][]string{{"MACHINE", "STATE", " ROWS"}}
	for i := range v.Machines {
		for _, s := range v.Machines[i].States {
			rows = append(rows, []string{v.Machines[i].Machine, s.State, s.Rows.String()})
		}
	}
	if len(rows) > 1 {
		p.heading("Rows by state")
		p.table(rows)
	}
}

func (v *statusView) printKept(p *printer) {
	rows := [][]string{{"KEPT", "MACHINE", "REASON", " RECORDS", "OLDEST OF MACHINE", "NEWEST OF MACHINE"}}
	for i := range v.Machines {
		m := &v.Machines[i]
		for _, k := range []struct {
			name string
			view *keptView
		}{{"parked", &m.Parked}, {"dead letter", &m.DeadLetters}} {
			for _, r := range k.view.reasons {
				n := count{N: r.N, AtLeast: k.view.Count.AtLeast}
				rows = append(rows, []string{k.name, named(m.Machine), string(r.Reason), n.String(), p.ago(k.view.Oldest), p.ago(k.view.Newest)})
			}
		}
	}
	if len(rows) > 1 {
		p.heading("Parked records and dead letters")
		p.table(rows)
	}
}

func (v *statusView) printGroups(p *printer) {
	p.heading("Groups")
	if len(v.Groups) == 0 {
		p.line("none; workers write marks as they settle records")
		return
	}
	rows := [][]string{{"GROUP", "TOPIC", " PARTITION", " SETTLED TO", "LAST MARK"}}
	if v.lagKnown {
		rows[0] = append(rows[0], " LAG")
	}
	add := func(cells []string, lag *int64) {
		if v.lagKnown {
			text := "?"
			if lag != nil {
				text = thousands(*lag)
			}
			cells = append(cells, text)
		}
		rows = append(rows, cells)
	}
	for i := range v.Groups {
		g := &v.Groups[i]
		if !v.partitions {
			add([]string{g.Group, g.Topic, "all " + strconv.Itoa(len(g.Partitions)), "", p.ago(g.Written)}, g.Lag)
			continue
		}
		for _, part := range g.Partitions {
			add([]string{g.Group, g.Topic, strconv.Itoa(int(part.Partition)), thousands(part.Settled), p.ago(part.Written)}, part.Lag)
		}
	}
	p.table(rows)
}
