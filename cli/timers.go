package cli

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A timerView is a timer as JSON.
type timerView struct {
	Due     time.Time `json:"due"`
	Machine string    `json:"machine"`
	Entity  string    `json:"entity"`
	Event   string    `json:"event"`
	Version int64     `json:"armed_version"`
	Tries   int       `json:"tries"`
	Void    bool      `json:"void,omitempty"` // the history that was read says so
}

func timerViewOf(t postgres.ArmedTimer, history []postgres.EntityStep) timerView {
	return timerView{
		Due: t.Due.UTC(), Machine: t.Entity.Machine, Entity: t.Entity.Key, Event: string(t.Event), Version: t.Version, Tries: t.Tries,
		Void: slices.ContainsFunc(history, func(s postgres.EntityStep) bool { return s.Version > t.Version && s.From != s.To }),
	}
}

func printTimers(p *printer, timers []timerView) {
	rows := [][]string{{"DUE", "WHEN", "MACHINE", "ENTITY", "EVENT", " ARMED AT VERSION", " FAILED", ""}}
	for _, t := range timers {
		note := ""
		if t.Void {
			note = "void: the entity has moved on"
		}
		rows = append(rows, []string{stamp(t.Due), p.ago(t.Due), t.Machine, t.Entity, t.Event, strconv.FormatInt(t.Version, 10), strconv.Itoa(t.Tries), note})
	}
	p.table(rows)
}

func timersCommand(cfg *Config) *cobra.Command {
	return group("timers", "List the timers that are armed", listTimersCommand(cfg))
}

func listTimersCommand(cfg *Config) *cobra.Command {
	i := &inspection{Config: cfg}
	var f postgres.TimerFilter
	var event, to string
	var overdue bool
	cmd := i.command("list", "List the timers that are armed, in the order in which they are due", `List the timers that are armed, in the order in which they are due. Timers whose
entity has left the state are listed too, until they are due.

JSON has: timers (due, machine, entity, event, armed_version, tries), and
incomplete, which is true if not all timers of a machine were looked at.`,
		`  timers list --overdue
  timers list --machine order --event expired --limit 200
  timers list --machine order --entity 1042`, cobra.NoArgs, func(ctx context.Context, s *session) (err error) {
			if err := checkLimit(f.Limit); err != nil {
				return err
			}
			f.Event = statemachine.Event(event)
			if f.To, err = parseTime("--to", to, s.now); err != nil {
				return err
			}
			if overdue {
				f.To = s.now
			}
			timers, more, err := s.op.Timers(ctx, f)
			if err != nil {
				return err
			}
			return listTimers(s, timers, more, f.Limit)
		})
	flags := cmd.Flags()
	flags.StringVar(&f.Machine, "machine", "", "of this `machine`")
	i.completeMachines(cmd, "machine")
	flags.StringVar(&f.Key, "entity", "", "of the entity with this `key`")
	flags.StringVar(&event, "event", "", "of this `event`")
	flags.StringVar(&to, "to", "", "due before this `time`, such as 2026-01-31T12:00:00Z")
	flags.BoolVar(&overdue, "overdue", false, "only those that are due already")
	flags.IntVar(&f.Limit, "limit", defaultLimit, limitText(defaultLimit))
	return cmd
}

func listTimers(s *session, timers []postgres.ArmedTimer, more bool, limit int) error {
	view := struct {
		Timers     []timerView `json:"timers"`
		Incomplete bool        `json:"incomplete"`
	}{[]timerView{}, more}
	for _, t := range timers {
		view.Timers = append(view.Timers, timerViewOf(t, nil))
	}
	if s.isJSON {
		return s.json(view)
	}
	if len(timers) == 0 {
		s.line("no timers")
	} else {
		printTimers(s.printer, view.Timers)
		s.line("\n%s", plural(int64(len(timers)), "timer"))
	}
	if len(timers) == limit {
		s.line("there may be more: raise --limit, or narrow the list with --machine, --event or --to")
	}
	if more {
		s.line("not all timers were looked at, because there are too many")
	}
	return nil
}
