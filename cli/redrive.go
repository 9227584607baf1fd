package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A redriver is the command dead-letters redrive.
type redriver struct {
	*deadLetterCommand

	apply bool
}

// A redriveView is what redrive prints.
type redriveView struct {
	Applied     bool           `json:"applied"` // false: a dry run
	DeadLetters []redrivenView `json:"dead_letters"`
	Settled     int            `json:"settled"` // no longer dead letters
	Left        int            `json:"left"`
}

type redrivenView struct {
	ID      int64  `json:"id"`
	Machine string `json:"machine"`
	Entity  string `json:"entity"`
	Event   string `json:"event"`
	Was     string `json:"was"`
	Verdict string `json:"verdict"`
	Reason  string `json:"reason,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

func redriveCommand(cfg *Config) *cobra.Command {
	c := &redriver{deadLetterCommand: newDeadLetterCommand(cfg)}
	cmd := c.command("redrive [ID...]", "Judge dead letters again", `Judge dead letters again, after the cause has been fixed, as if they had just
arrived: they are decoded and judged by the machines of this build. Without
--apply, say what would become of them, and write nothing.

A dead letter that is applied, a duplicate, parked or ignored now is removed. The
others stay, with the new reason. Workers may run meanwhile. Table audit keeps
who redrove which ones. With --all and --apply it asks before, on a terminal;
elsewhere it needs --yes.

JSON has: applied, dead_letters (the first 10,000: id, machine, entity, event, was, verdict, reason,
detail), settled, left. The exit status is 1 if dead letters are left, or one
that was named is not there.`,
		`  dead-letters redrive --reason constraint            what would become of them
  dead-letters redrive --reason constraint --apply
  dead-letters redrive 17 18 --apply
  dead-letters redrive --all --apply --yes`, cobra.ArbitraryArgs, c.run)
	c.register(&c.inspection, cmd, 0)
	c.ask(cmd)
	cmd.Flags().BoolVar(&c.apply, "apply", false, "redrive; without this flag, nothing is written")
	cmd.Flags().BoolVar(&c.all, "all", false, "all dead letters")
	return cmd
}

var errNoDecode = errors.New("this program has no Decode; set it in cli.Config to that of the worker")

func (c *redriver) run(ctx context.Context, s *session) error {
	f, err := c.filter(s)
	if err != nil {
		return err
	}
	if !c.chooses() && !c.all {
		return errNotChosen
	}
	if c.Decode == nil {
		return errNoDecode
	}
	if c.all && c.apply {
		n, err := s.op.CountDeadLetters(ctx, f)
		if err != nil {
			return err
		}
		if err := c.confirm(s, "Redrive all %s?", countOf(n).of("dead letter")); err != nil {
			return err
		}
	}
	store, err := postgres.OpenIn(ctx, s.pool, c.schema, c.Tables...)
	if err != nil {
		return err
	}
	judge := func(letters []versioning.DeadLetter) ([]versioning.Outcome, error) {
		if c.apply {
			return store.RedriveAs(ctx, c.act(s, "dead-letters redrive"), letters, c.Decode)
		}
		return store.DryRedrive(ctx, letters, c.Decode)
	}
	view := &redriveView{Applied: c.apply, DeadLetters: []redrivenView{}}
	err = redrive(ctx, s.op, f, judge, view)
	return errors.Join(err, c.report(s, view))
}

// redrivenAtOnce limits how many dead letters are judged together. A dry run holds their locks.
const redrivenAtOnce = 100

// redrive judges the dead letters that match, one page after another.
func redrive(ctx context.Context, op *postgres.Operator, f postgres.DeadLetterFilter, judge func([]versioning.DeadLetter) ([]versioning.Outcome, error), view *redriveView) error {
	limit := f.Limit
	for {
		f.Limit = redrivenAtOnce
		if limit > 0 {
			f.Limit = min(f.Limit, limit-view.total())
		}
		if f.Limit == 0 {
			return nil
		}
		letters, err := op.DeadLetters(ctx, f)
		if err != nil || len(letters) == 0 {
			return err //nolint:wrapcheck // it says what failed
		}
		outcomes, err := judge(letters)
		for i := range outcomes {
			view.add(&letters[i], &outcomes[i])
		}
		if err != nil {
			return fmt.Errorf("redrive, after %s: %w", plural(int64(view.total()), "dead letter"), err)
		}
		f.After = letters[len(letters)-1].ID
	}
}

// mostRedriven limits the dead letters that are told, because they are held in memory. All are
// counted.
const mostRedriven = 10_000

func (v *redriveView) total() int { return v.Settled + v.Left }

func (v *redriveView) add(l *versioning.DeadLetter, o *versioning.Outcome) {
	if len(v.DeadLetters) < mostRedriven {
		v.DeadLetters = append(v.DeadLetters, redrivenView{
			ID: l.ID, Machine: o.Entity.Machine, Entity: o.Entity.Key, Event: string(o.Event),
			Was: string(l.Outcome.Reason), Verdict: o.Verdict.String(), Reason: string(o.Reason), Detail: o.Detail,
		})
	}
	if o.Verdict == versioning.Rejected || o.Verdict == versioning.Diverged {
		v.Left++
	} else {
		v.Settled++
	}
}

// report prints what has become of the dead letters.
func (c *redriver) report(s *session, v *redriveView) error {
	switch {
	case s.isJSON:
		if err := s.json(v); err != nil {
			return err
		}
	case len(v.DeadLetters) > 0:
		rows := [][]string{{" ID", "MACHINE", "ENTITY", "EVENT", "WAS", "VERDICT NOW", "REASON"}}
		for _, l := range v.DeadLetters {
			rows = append(rows, []string{strconv.FormatInt(l.ID, 10), orDash(l.Machine), orDash(l.Entity), orDash(l.Event), l.Was, l.Verdict, l.Reason})
		}
		s.table(rows)
		if more := v.total() - len(v.DeadLetters); more > 0 {
			s.line("and %d more", more)
		}
		s.line("")
		fallthrough
	default:
		total := plural(int64(v.total()), "dead letter")
		if c.apply {
			s.line("%s: %d settled, %d left", total, v.Settled, v.Left)
		} else {
			s.line("%s: %d would be settled, %d would be left; nothing was written. To redrive them, add --apply.", total, v.Settled, v.Left)
		}
	}
	if missing := len(c.ids) - v.total(); missing > 0 {
		return absent("%d of the dead letters that were named are not there", missing)
	}
	if v.Left > 0 {
		return ErrFound
	}
	return nil
}
