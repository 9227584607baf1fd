package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning/postgres"
)

// An auditView is an entry of the table audit as JSON.
type auditView struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	Role      string    `json:"role"`
	Actor     string    `json:"actor"`
	Verb      string    `json:"verb"`
	Arguments string    `json:"arguments"`
	Rows      int64     `json:"rows"`
	IDs       []int64   `json:"ids"`
}

func auditCommand(cfg *Config) *cobra.Command {
	return group("audit", "List what operators have dropped and redriven", listAuditCommand(cfg))
}

func listAuditCommand(cfg *Config) *cobra.Command {
	i := &inspection{Config: cfg}
	var f postgres.AuditFilter
	cmd := i.command("list", "List what operators have dropped and redriven, the newest first", `List what operators have dropped and redriven, the newest first: the role that
had logged in, the person, the command, and to how many rows it was done.

JSON has: audit (id, at, role, actor, verb, arguments, rows, ids), and next, the ID
for --before if there are more.`,
		"  audit list --limit 10", cobra.NoArgs, func(ctx context.Context, s *session) error {
			if err := checkLimit(f.Limit); err != nil {
				return err
			}
			entries, err := s.op.Audit(ctx, f)
			if err != nil {
				return err
			}
			return listAudit(s, entries, f.Limit)
		})
	cmd.Flags().Int64Var(&f.Before, "before", 0, "only those with an ID below `id`")
	cmd.Flags().IntVar(&f.Limit, "limit", defaultLimit, limitText(defaultLimit))
	return cmd
}

func listAudit(s *session, entries []postgres.AuditEntry, limit int) error {
	view := struct {
		Audit []auditView `json:"audit"`
		Next  int64       `json:"next,omitempty"`
	}{Audit: []auditView{}}
	rows := [][]string{{" ID", "AT", "AGE", "ROLE", "WHO", "DID", "ARGUMENTS", " ROWS"}}
	for _, e := range entries {
		view.Audit = append(view.Audit, auditView{e.ID, e.At.UTC(), e.By, e.As, e.Verb, e.Arguments, e.Rows, e.IDs})
		rows = append(rows, []string{strconv.FormatInt(e.ID, 10), stamp(e.At), s.ago(e.At), e.By, e.As, e.Verb, e.Arguments, strconv.FormatInt(e.Rows, 10)})
	}
	if n := len(entries); n > 0 && n == limit {
		view.Next = entries[n-1].ID
	}
	if s.isJSON {
		return s.json(view)
	}
	if len(entries) == 0 {
		s.line("operators have dropped and redriven nothing")
		return nil
	}
	s.table(rows)
	if view.Next > 0 {
		fmt.Fprintf(s.to, "\nthere may be more: add --before %d\n", view.Next)
	}
	return nil
}
