package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A deadLetterView is a dead letter as JSON.
type deadLetterView struct {
	ID       int64     `json:"id"`
	DiedAt   time.Time `json:"died_at"`
	Machine  string    `json:"machine"`
	Entity   string    `json:"entity"`
	Event    string    `json:"event"`
	Verdict  string    `json:"verdict"`
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail"`
	Attempts int       `json:"attempts"`
	Record   record    `json:"record"`

	origin string
}

func deadLetterViewOf(l *versioning.DeadLetter, payload bool) deadLetterView {
	return deadLetterView{
		ID: l.ID, DiedAt: l.DiedAt.UTC(), Machine: l.Outcome.Entity.Machine, Entity: l.Outcome.Entity.Key, Event: string(l.Outcome.Event),
		Verdict: l.Outcome.Verdict.String(), Reason: string(l.Outcome.Reason), Detail: l.Outcome.Detail, Attempts: l.Attempts,
		Record: recordOf(l.Record, payload), origin: l.Record.Origin.String(),
	}
}

// printDeadLetters prints dead letters without their details, which may quote the record.
func printDeadLetters(p *printer, letters []deadLetterView) {
	rows := [][]string{{" ID", "DIED", "MACHINE", "ENTITY", "EVENT", "VERDICT", "REASON", " ATTEMPTS", "RECORD"}}
	for i := range letters {
		l := &letters[i]
		rows = append(rows, []string{
			strconv.FormatInt(l.ID, 10), p.ago(l.DiedAt), orDash(l.Machine), orDash(l.Entity), orDash(l.Event), l.Verdict, l.Reason, strconv.Itoa(l.Attempts), l.origin,
		})
	}
	p.table(rows)
}

func deadLettersCommand(cfg *Config) *cobra.Command {
	commands := []*cobra.Command{listDeadCommand(cfg), showDeadCommand(cfg), dropDeadCommand(cfg), exportDeadCommand(cfg)}
	if len(cfg.Tables) == 0 {
		return group("dead-letters", "List, show, export and drop the records that could not be applied", commands...)
	}
	return group("dead-letters", "List, show, export, drop and redrive the records that could not be applied", append(commands, redriveCommand(cfg))...)
}

// A deadLetterCommand is one of the commands below dead-letters.
type deadLetterCommand struct {
	operation
	recordFlags

	after int64
	all   bool
}

func newDeadLetterCommand(cfg *Config) *deadLetterCommand {
	c := &deadLetterCommand{}
	c.Config = cfg
	return c
}

// filter returns what flags and arguments select.
func (c *deadLetterCommand) filter(s *session) (postgres.DeadLetterFilter, error) {
	err := c.parse(s)
	return postgres.DeadLetterFilter{
		IDs: c.ids, Reason: versioning.Reason(c.reason), Machine: c.machine, Key: c.entity, Topic: c.topic,
		From: c.fromTime, To: c.toTime, After: c.after, Limit: c.limit,
	}, err
}

func listDeadCommand(cfg *Config) *cobra.Command {
	c := newDeadLetterCommand(cfg)
	cmd := c.command("list", "List dead letters, by ID", `List dead letters, by ID: those of the longest standing come first.

JSON has: dead_letters (id, died_at, machine, entity, event, verdict, reason,
detail, attempts, record), and next, the ID for --after if there are more. A
record has topic, topic_id, partition, offset and timestamp, and with --payload
key, value and headers. The detail may quote the record.`,
		`  dead-letters list --machine order --reason constraint
  dead-letters list --from 2h --limit 200
  dead-letters list --after 117`, cobra.NoArgs, func(ctx context.Context, s *session) error {
			f, err := c.filter(s)
			if err != nil {
				return err
			}
			letters, err := s.op.DeadLetters(ctx, f)
			if err != nil {
				return err
			}
			return c.list(s, letters)
		})
	c.register(&c.inspection, cmd, defaultLimit)
	cmd.Flags().Int64Var(&c.after, "after", 0, "only those with an ID above `id`")
	cmd.Flags().BoolVar(&c.payload, "payload", false, "JSON also has the content of the records")
	return cmd
}

func (c *deadLetterCommand) list(s *session, letters []versioning.DeadLetter) error {
	view := struct {
		DeadLetters []deadLetterView `json:"dead_letters"`
		Next        int64            `json:"next,omitempty"`
	}{DeadLetters: []deadLetterView{}}
	for i := range letters {
		view.DeadLetters = append(view.DeadLetters, deadLetterViewOf(&letters[i], c.payload))
	}
	if n := len(letters); n > 0 && n == c.limit {
		view.Next = letters[n-1].ID
	}
	if s.isJSON {
		return s.json(view)
	}
	if len(letters) == 0 {
		s.line("no dead letters")
		return nil
	}
	printDeadLetters(s.printer, view.DeadLetters)
	s.line("\n%s; see one with: %s", plural(int64(len(letters)), "dead letter"), s.sibling(fmt.Sprintf("dead-letters show %d", letters[0].ID)))
	if view.Next > 0 {
		s.line("there may be more: add --after %d", view.Next)
	}
	return nil
}

func showDeadCommand(cfg *Config) *cobra.Command {
	c := newDeadLetterCommand(cfg)
	cmd := c.command("show ID", "Show a dead letter", `Show a dead letter. The detail says why it died; it may quote the record.

JSON has the fields of an element of list. The exit status is 1 if there is no
such dead letter.`,
		"  dead-letters show 17 --payload", cobra.ExactArgs(1), func(ctx context.Context, s *session) error {
			f, err := c.filter(s)
			if err != nil {
				return err
			}
			letters, err := s.op.DeadLetters(ctx, f)
			if err != nil {
				return err
			}
			if len(letters) == 0 {
				return absent("there is no dead letter %d", c.ids[0])
			}
			v := deadLetterViewOf(&letters[0], c.payload)
			if s.isJSON {
				return s.json(v)
			}
			v.print(s, len(c.Tables) > 0)
			return nil
		})
	c.registerPayload(cmd)
	return cmd
}

func (v *deadLetterView) print(s *session, canRedrive bool) {
	p := s.printer
	p.line("%s", p.colors(bold, fmt.Sprintf("dead letter %d", v.ID)))
	p.line("%-11s%s", "died", p.at(v.DiedAt))
	p.line("%-11s%s, topic ID %s, produced %s", "record", visible(v.origin), v.Record.TopicID, p.at(v.Record.Timestamp))
	p.line("%-11s%s", "entity", visible(orDash(v.Machine)+"/"+orDash(v.Entity)))
	p.line("%-11s%s", "event", visible(orDash(v.Event)))
	p.line("%-11s%s, %s", "verdict", v.Verdict, v.Reason)
	p.line("%-11s%s", "detail", lines(v.Detail, "           "))
	p.line("%-11s%d", "attempts", v.Attempts)
	v.Record.print(p)
	p.line("")
	if v.Record.payload == nil {
		p.line("see its content with: %s", s.sibling(fmt.Sprintf("dead-letters show %d --payload", v.ID)))
	}
	if v.Machine != "" && v.Entity != "" {
		p.line("see its entity with: %s", s.sibling(fmt.Sprintf("entity %s --machine %s", quoted(v.Entity), quoted(v.Machine))))
	}
	if canRedrive {
		p.line("judge it again with: %s", s.sibling(fmt.Sprintf("dead-letters redrive %d", v.ID)))
	} else {
		p.line("to judge it again, use the command redrive of your program (package cli)")
	}
}
