package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// An entityView is an entity as JSON.
type entityView struct {
	Machine     string           `json:"machine"`
	Key         string           `json:"key"`
	Table       string           `json:"table,omitempty"`
	Problem     string           `json:"table_problem,omitempty"`
	Row         *rowView         `json:"row"` // null if there is none
	History     []stepView       `json:"history"`
	Earlier     bool             `json:"earlier_steps"`
	Parked      []parkedView     `json:"parked"`
	DeadLetters []deadLetterView `json:"dead_letters"`
	Timers      []timerView      `json:"timers"`
	MoreTimers  bool             `json:"timers_incomplete"`
	Unsent      []unsentView     `json:"unsent"`
}

type rowView struct {
	State   string          `json:"state"`
	Version int64           `json:"version"`
	Columns json.RawMessage `json:"columns,omitempty"`
}

type stepView struct {
	Version    int64     `json:"version"`
	Event      string    `json:"event"`
	From       string    `json:"from"`
	To         string    `json:"to"`
	At         time.Time `json:"at"`
	Definition int       `json:"definition"`
	MessageID  string    `json:"message_id"`
	Origin     string    `json:"origin"`
}

// An entityShower is the command entity.
type entityShower struct {
	inspection

	machine string
	before  int64
	limit   int
	payload bool
}

func entityCommand(cfg *Config) *cobra.Command {
	c := &entityShower{inspection: inspection{Config: cfg}}
	cmd := c.command("entity KEY", "Show all that there is about an entity", `Show all that there is about an entity: its row, the steps of its history, what is
parked for it, its dead letters, its timers, and its unsent messages. Without
--machine, it is looked for in all machines.

A timer is void if its entity has left the state that armed it.

JSON has an array of: machine, key, table, table_problem, row (state, version,
columns), history (version, event, from, to, at, definition, message_id,
origin), earlier_steps, parked, dead_letters, timers, timers_incomplete, unsent.
The columns of the row, and keys, values and headers of records are there only
with --payload.

The exit status is 1 if there is no such entity, and 2 after an error.`,
		`  entity 1042
  entity 1042 --machine order --payload
  entity 1042 --before 17             the steps before version 17`, cobra.ExactArgs(1), c.run)
	flags := cmd.Flags()
	flags.StringVar(&c.machine, "machine", "", "the entity's `machine` (default all)")
	c.completeMachines(cmd, "machine")
	flags.Int64Var(&c.before, "before", 0, "only steps before this `version`")
	flags.IntVar(&c.limit, "limit", defaultLimit, "at most `n` steps, and n records of each kind")
	flags.BoolVar(&c.payload, "payload", false, "also the columns of the row, and the content of records")
	return cmd
}

const defaultLimit = 50

func (c *entityShower) run(ctx context.Context, s *session) error {
	if err := checkLimit(c.limit); err != nil {
		return err
	}
	machines := []string{c.machine}
	if c.machine == "" {
		registered, err := s.op.Machines(ctx)
		if err != nil {
			return err
		}
		machines = nil
		for _, m := range registered {
			machines = append(machines, m.Name)
		}
	}
	views := []*entityView{}
	for _, machine := range machines {
		entity := versioning.Entity{Machine: machine, Key: s.args[0]}
		found, err := s.op.Entity(ctx, postgres.EntityQuery{Entity: entity, Before: c.before, Steps: c.limit})
		if err != nil {
			return err
		}
		if found.Found() {
			views = append(views, entityViewOf(found, c.payload))
		}
	}
	if s.isJSON {
		if err := s.json(views); err != nil {
			return err
		}
	} else {
		for _, v := range views {
			v.print(s.printer, s.sibling)
		}
	}
	if len(views) == 0 {
		return absent("there is no entity %q in %q, and nothing is kept for it", s.args[0], machines)
	}
	return nil
}

func entityViewOf(e *postgres.EntityView, payload bool) *entityView {
	v := &entityView{
		Machine: e.Entity.Machine, Key: e.Entity.Key, Table: e.Table, Problem: e.TableProblem,
		Earlier: e.Earlier, MoreTimers: e.MoreTimers,
		History: []stepView{}, Parked: []parkedView{}, DeadLetters: []deadLetterView{}, Timers: []timerView{}, Unsent: []unsentView{},
	}
	if r := e.Row; r != nil {
		v.Row = &rowView{State: string(r.State), Version: r.Version}
		if payload {
			v.Row.Columns = r.Columns
		}
	}
	for _, s := range e.History {
		v.History = append(v.History, stepView{s.Version, string(s.Event), string(s.From), string(s.To), s.At.UTC(), s.Definition, s.MessageID, s.Origin.String()})
	}
	for i := range e.Parked {
		v.Parked = append(v.Parked, parkedViewOf(&e.Parked[i], payload))
	}
	for i := range e.DeadLetters {
		v.DeadLetters = append(v.DeadLetters, deadLetterViewOf(&e.DeadLetters[i], payload))
	}
	for _, t := range e.Timers {
		v.Timers = append(v.Timers, timerViewOf(t, e.History))
	}
	for i := range e.Unsent {
		v.Unsent = append(v.Unsent, unsentViewOf(&e.Unsent[i], payload))
	}
	return v
}

// print prints an entity for people.
func (v *entityView) print(p *printer, sibling func(string) string) {
	p.line("%s", p.colors(bold, visible(v.Machine+"/"+v.Key)))
	switch {
	case v.Row != nil:
		p.line("state %s, version %d, in table %s", visible(v.Row.State), v.Row.Version, visible(v.Table))
		if v.Row.Columns != nil {
			p.line("columns %s", visible(string(v.Row.Columns)))
		}
	case v.Problem != "":
		p.line("the row can't be read: %s", visible(v.Problem))
	default:
		p.line("no row in table %s", orDash(visible(v.Table)))
	}
	v.printHistory(p, sibling)
	if len(v.Parked) > 0 {
		p.heading("Parked records")
		printParked(p, v.Parked)
	}
	if len(v.DeadLetters) > 0 {
		p.heading("Dead letters")
		printDeadLetters(p, v.DeadLetters)
		p.line("see one with: %s", sibling(fmt.Sprintf("dead-letters show %d", v.DeadLetters[0].ID)))
	}
	if len(v.Timers) > 0 || v.MoreTimers {
		p.heading("Timers")
		printTimers(p, v.Timers)
	}
	if v.MoreTimers {
		p.line("there may be more: the machine has too many timers to look at all")
	}
	if len(v.Unsent) > 0 {
		p.heading("Unsent messages")
		printUnsent(p, v.Unsent)
	}
	p.line("")
}

func (v *entityView) printHistory(p *printer, sibling func(string) string) {
	p.heading("History")
	if len(v.History) == 0 {
		p.line("no steps")
		return
	}
	if v.Earlier {
		p.line("earlier steps: %s", sibling(fmt.Sprintf("entity %s --machine %s --before %d", quoted(v.Key), quoted(v.Machine), v.History[0].Version)))
	}
	rows := [][]string{{"AT", "AGE", " VERSION", "EVENT", "FROM", "TO", "RECORD"}}
	for _, s := range v.History {
		from := s.From
		if from == "" {
			from = "(new)"
		}
		rows = append(rows, []string{stamp(s.At), p.ago(s.At), strconv.FormatInt(s.Version, 10), s.Event, from, s.To, s.Origin})
	}
	p.table(rows)
}
