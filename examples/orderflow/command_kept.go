package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// deadLettersCommand and parkedCommand manage the records that are stored in
// the database: those that can never be applied, and those that wait.
func deadLettersCommand(s *settings) *cobra.Command {
	cmd := &cobra.Command{Use: "dead-letters", Short: "List, show and redrive the records that could not be applied", Args: cobra.NoArgs}
	cmd.AddCommand(listDeadLetters(s), showDeadLetter(s), redriveDeadLetters(s))
	return cmd
}

func parkedCommand(s *settings) *cobra.Command {
	cmd := &cobra.Command{Use: "parked", Short: "List the records that wait for their order to move", Args: cobra.NoArgs}
	var f filterFlags
	list := s.onStore("list", "List parked records, oldest first", cobra.NoArgs,
		func(ctx context.Context, out io.Writer, store *postgres.Store, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			parked, err := store.Parked(ctx, parkedFilter(filter))
			if err != nil {
				return err
			}
			table := newTable(out, "PARKED", "ORDER", "EVENT", "REASON", "ORIGIN")
			for _, p := range parked {
				table.row(p.ParkedAt.Format(time.RFC3339), p.Entity.Key, string(p.Record.Changes[0].Event), string(p.Reason), p.Record.Origin.String())
			}
			return table.end()
		})
	f.register(list)
	cmd.AddCommand(list)
	return cmd
}

func listDeadLetters(s *settings) *cobra.Command {
	var f filterFlags
	cmd := s.onStore("list", "List dead letters, oldest first", cobra.NoArgs,
		func(ctx context.Context, out io.Writer, store *postgres.Store, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			letters, err := store.DeadLetters(ctx, filter)
			if err != nil {
				return err
			}
			table := newTable(out, "ID", "DIED", "ORDER", "EVENT", "VERDICT", "REASON", "ATTEMPTS", "ORIGIN")
			for _, l := range letters {
				table.row(strconv.FormatInt(l.ID, 10), l.DiedAt.Format(time.RFC3339), l.Outcome.Entity.Key, string(l.Outcome.Event),
					l.Outcome.Verdict.String(), string(l.Outcome.Reason), strconv.Itoa(l.Attempts), l.Record.Origin.String())
			}
			return table.end()
		})
	f.register(cmd)
	return cmd
}

func showDeadLetter(s *settings) *cobra.Command {
	return s.onStore("show ID", "Show a dead letter with all its details", cobra.ExactArgs(1),
		func(ctx context.Context, out io.Writer, store *postgres.Store, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return fmt.Errorf("invalid dead letter ID: %w", err)
			}
			letters, err := store.DeadLetters(ctx, postgres.DeadLetterFilter{IDs: []int64{id}})
			if err != nil {
				return err
			}
			if len(letters) == 0 {
				return fmt.Errorf("there is no dead letter %d", id)
			}
			show(out, &letters[0])
			return nil
		})
}

func show(out io.Writer, l *versioning.DeadLetter) {
	r := l.Record
	fmt.Fprintf(out, "dead letter %d, attempts %d, died %s\n", l.ID, l.Attempts, l.DiedAt.Format(time.RFC3339))
	fmt.Fprintf(out, "origin    %s, topic ID %x, produced %s\n", r.Origin, r.Origin.TopicID, r.Timestamp.Format(time.RFC3339Nano))
	fmt.Fprintf(out, "order     %s\nevent     %s\n", l.Outcome.Entity.Key, l.Outcome.Event)
	fmt.Fprintf(out, "verdict   %s, %s\ndetail    %s\n", l.Outcome.Verdict, l.Outcome.Reason, l.Outcome.Detail)
	for _, h := range r.Headers {
		fmt.Fprintf(out, "header    %s: %q\n", h.Key, h.Value)
	}
	fmt.Fprintf(out, "key       %q\nvalue     %q\n", r.Key, r.Value)
}

// redriveDeadLetters retries dead letters after the cause is fixed: a decoder,
// a constraint, a missing row.
func redriveDeadLetters(s *settings) *cobra.Command {
	var f filterFlags
	var apply, all bool
	cmd := s.onStore("redrive", "Show the verdicts that dead letters would get now; with --apply, redrive them", cobra.NoArgs,
		func(ctx context.Context, out io.Writer, store *postgres.Store, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			if !f.chooses() && !all {
				return errors.New("choose the dead letters with --id, --reason, --order, --from or --to, or use --all")
			}
			return redrive(ctx, out, store, filter, apply)
		})
	f.register(cmd)
	cmd.Flags().Int64SliceVar(&f.f.IDs, "id", nil, "IDs of dead letters")
	cmd.Flags().BoolVar(&apply, "apply", false, "redrive; without this flag, nothing is written")
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters")
	return cmd
}

// redrive processes the matching dead letters, one page at a time.
func redrive(ctx context.Context, out io.Writer, store *postgres.Store, filter postgres.DeadLetterFilter, apply bool) error {
	judge := store.DryRedrive
	if apply {
		judge = store.Redrive
	}
	table := newTable(out, "ID", "ORDER", "EVENT", "WAS", "VERDICT NOW", "REASON")
	redriven := 0
	for limit := filter.Limit; limit == 0 || redriven < limit; {
		letters, err := store.DeadLetters(ctx, filter)
		if err != nil {
			return err
		}
		if len(letters) == 0 {
			break
		}
		outcomes, err := judge(ctx, letters, decode)
		for i, o := range outcomes {
			table.row(strconv.FormatInt(letters[i].ID, 10), o.Entity.Key, string(o.Event),
				string(letters[i].Outcome.Reason), o.Verdict.String(), string(o.Reason))
		}
		if err != nil {
			return errors.Join(table.end(), err)
		}
		redriven += len(letters)
		filter.After = letters[len(letters)-1].ID
	}
	if err := table.end(); err != nil {
		return err
	}
	if !apply {
		fmt.Fprintf(out, "%d dead letters; nothing was written. To redrive them, add --apply.\n", redriven)
	}
	return nil
}

// filterFlags are the flags that select records.
type filterFlags struct {
	f        postgres.DeadLetterFilter
	reason   string
	from, to string
}

func (f *filterFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "reason, such as undecodable or constraint")
	flags.StringVar(&f.f.Key, "order", "", "order")
	flags.StringVar(&f.from, "from", "", "at or after this time, such as 2026-01-31T12:00:00Z")
	flags.StringVar(&f.to, "to", "", "before this time")
	flags.IntVar(&f.f.Limit, "limit", 0, "maximum number; 0 means 100 for list and no limit for redrive")
}

// chooses reports whether any flag narrows the selection.
func (f *filterFlags) chooses() bool {
	return len(f.f.IDs) > 0 || f.reason != "" || f.f.Key != "" || f.from != "" || f.to != ""
}

func (f *filterFlags) filter() (filter postgres.DeadLetterFilter, err error) {
	filter = f.f
	filter.Reason = versioning.Reason(f.reason)
	for _, t := range []struct {
		flag, text string
		into       *time.Time
	}{{"--from", f.from, &filter.From}, {"--to", f.to, &filter.To}} {
		if t.text == "" {
			continue
		}
		if *t.into, err = time.Parse(time.RFC3339, t.text); err != nil {
			return filter, fmt.Errorf("%s: %w", t.flag, err)
		}
	}
	return filter, nil
}

// parkedFilter returns the filter for parked records with the same flags.
func parkedFilter(f postgres.DeadLetterFilter) postgres.ParkedFilter {
	return postgres.ParkedFilter{Reason: f.Reason, Key: f.Key, From: f.From, To: f.To, Limit: f.Limit}
}

// onStore makes a command that works on the database alone.
func (s *settings) onStore(use, short string, args cobra.PositionalArgs,
	do func(ctx context.Context, out io.Writer, store *postgres.Store, args []string) error,
) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		if err := s.need(false, true); err != nil {
			return err
		}
		pool, err := openPool(cmd.Context(), s.databaseURL)
		if err != nil {
			return err
		}
		defer pool.Close()
		store, err := openStore(cmd.Context(), pool, defaultTerms)
		if err != nil {
			return err
		}
		return do(cmd.Context(), cmd.OutOrStdout(), store, args)
	}}
}

// A table aligns columns.
type table struct {
	w    *tabwriter.Writer
	rows int
}

func newTable(out io.Writer, columns ...string) *table {
	t := &table{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row(columns...)
	t.rows = 0
	return t
}

func (t *table) row(cells ...string) {
	t.rows++
	for _, cell := range cells {
		fmt.Fprintf(t.w, "%s\t", cell)
	}
	fmt.Fprintln(t.w)
}

func (t *table) end() error {
	fmt.Fprintf(t.w, "%d records\n", t.rows)
	return t.w.Flush()
}
