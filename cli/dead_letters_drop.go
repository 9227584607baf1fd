package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning/postgres"
)

var errNotChosen = errors.New("choose with IDs, --machine, --entity, --topic, --reason, --from or --to, or use --all")

func dropDeadCommand(cfg *Config) *cobra.Command {
	c := newDeadLetterCommand(cfg)
	cmd := c.command("drop [ID...]", "Delete dead letters for good", `Delete dead letters for good. Table audit keeps who did it and which ones they
were, not what was in them: export them first. If such a record is delivered
again, it is judged as a new one.

It asks before, on a terminal; elsewhere it needs --yes. JSON has: dropped. The
exit status is 1 if a dead letter that was named is not there.`,
		`  dead-letters drop --reason illegal --to 720h
  dead-letters drop 17 18 --yes --as ada`, cobra.ArbitraryArgs, c.drop)
	c.register(&c.inspection, cmd, 0)
	c.ask(cmd)
	cmd.Flags().BoolVar(&c.all, "all", false, "all dead letters")
	return cmd
}

func (c *deadLetterCommand) drop(ctx context.Context, s *session) error {
	f, err := c.filter(s)
	if err != nil {
		return err
	}
	if !c.chooses() && !c.all {
		return errNotChosen
	}
	if f.To.IsZero() {
		f.To = s.now // what arrives while it asks is not dropped
	}
	n, err := s.op.CountDeadLetters(ctx, f)
	if err != nil {
		return err
	}
	return c.dropCounted(s, "dead letter", countOf(n), len(c.ids), func() (int64, error) {
		return s.op.DropDeadLetters(ctx, c.act(s, "dead-letters drop"), f)
	})
}

// dropCounted asks, drops, and says how many were dropped. named is how many IDs were given.
func (o *operation) dropCounted(s *session, noun string, n count, named int, drop func() (int64, error)) error {
	var dropped int64
	if n.N > 0 {
		if err := o.confirm(s, "Drop %s for good?", n.of(noun)); err != nil {
			return err
		}
		var err error
		if dropped, err = drop(); err != nil {
			return err
		}
	}
	if s.isJSON {
		if err := s.json(map[string]int64{"dropped": dropped}); err != nil {
			return err
		}
	} else {
		s.line("dropped %s", plural(dropped, noun))
	}
	if int(dropped) < named {
		return absent("%d of the %ss that were named are not there", named-int(dropped), noun)
	}
	return nil
}

func exportDeadCommand(cfg *Config) *cobra.Command {
	c := newDeadLetterCommand(cfg)
	var file string
	cmd := c.command("export [ID...]", "Write dead letters with their content as lines of JSON", `Write dead letters with their content, each as a line of JSON with the fields of
list. Keys and values are text if they are UTF-8, and otherwise in base64 in
key_base64 and value_base64. Without arguments and flags, all are exported.

The exit status is 1 if a dead letter that was named is not there.`,
		`  dead-letters export > dead.jsonl
  dead-letters export --machine order --file order.jsonl`, cobra.ArbitraryArgs, func(ctx context.Context, s *session) error {
			f, err := c.filter(s)
			if err != nil {
				return err
			}
			n, err := exportTo(file, s.to, func(to io.Writer) (int, error) { return export(ctx, s.op, f, to) })
			if err != nil {
				return err
			}
			fmt.Fprintf(s.cmd.ErrOrStderr(), "exported %s\n", plural(int64(n), "dead letter"))
			if n < len(c.ids) {
				return absent("%d of the dead letters that were named are not there", len(c.ids)-n)
			}
			return nil
		})
	c.register(&c.inspection, cmd, 0)
	cmd.Flags().StringVar(&file, "file", "", "write to this `file`, which must not exist (default standard output)")
	return cmd
}

// exportTo calls write with a new file, or with the standard output if there is no file.
func exportTo(file string, stdout io.Writer, write func(io.Writer) (int, error)) (int, error) {
	if file == "" {
		return write(stdout)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	n, err := write(f)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return n, err
}

// exportedAtOnce limits the dead letters that are in memory.
const exportedAtOnce = 100

func export(ctx context.Context, op *postgres.Operator, f postgres.DeadLetterFilter, to io.Writer) (n int, err error) {
	limit := f.Limit
	for e := json.NewEncoder(to); ; {
		f.Limit = exportedAtOnce
		if limit > 0 {
			f.Limit = min(f.Limit, limit-n)
		}
		if f.Limit == 0 {
			return n, nil
		}
		letters, err := op.DeadLetters(ctx, f)
		if err != nil {
			return n, err //nolint:wrapcheck // it says what failed
		}
		for i := range letters {
			if err := e.Encode(deadLetterViewOf(&letters[i], true)); err != nil {
				return n, fmt.Errorf("export dead letter %d: %w", letters[i].ID, err)
			}
			n++
			f.After = letters[i].ID
		}
		if len(letters) < f.Limit {
			return n, nil
		}
	}
}
