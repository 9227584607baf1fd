package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A parkedView is a parked record as JSON.
type parkedView struct {
	ID         int64           `json:"id"`
	ParkedAt   time.Time       `json:"parked_at"`
	Machine    string          `json:"machine"`
	Entity     string          `json:"entity"`
	Events     []string        `json:"events"`
	Reason     string          `json:"reason"`
	Seen       int64           `json:"seen_version"`
	Definition int             `json:"definition"`
	Changes    json.RawMessage `json:"changes,omitempty"`
	Record     record          `json:"record"`

	origin string
}

func parkedViewOf(p *postgres.ParkedItem, payload bool) parkedView {
	v := parkedView{
		ID: p.ID, ParkedAt: p.ParkedAt.UTC(), Machine: p.Entity.Machine, Entity: p.Entity.Key, Events: []string{},
		Reason: string(p.Reason), Seen: p.Seen, Definition: p.Definition, Record: recordOf(p.Record, payload), origin: p.Record.Origin.String(),
	}
	type change struct {
		Machine   string             `json:"machine"`
		Key       string             `json:"key"`
		Event     string             `json:"event"`
		MessageID string             `json:"message_id"`
		Set       versioning.Columns `json:"set,omitempty"`
		Data      any                `json:"data,omitempty"`
	}
	var changes []change
	for _, c := range p.Record.Changes {
		v.Events = append(v.Events, string(c.Event))
		changes = append(changes, change{c.Machine, c.Key, string(c.Event), c.MessageID, c.Set, c.Data})
	}
	if payload {
		v.Changes, _ = json.Marshal(changes) // it has only texts, and JSON
	}
	return v
}

func printParked(p *printer, parked []parkedView) {
	rows := [][]string{{" ID", "PARKED", "MACHINE", "ENTITY", "EVENT", "REASON", "RECORD"}}
	for i := range parked {
		v := &parked[i]
		rows = append(rows, []string{strconv.FormatInt(v.ID, 10), p.ago(v.ParkedAt), v.Machine, v.Entity, strings.Join(v.Events, ", "), v.Reason, v.origin})
	}
	p.table(rows)
}

func parkedCommand(cfg *Config) *cobra.Command {
	return group("parked", "List, show and drop the records that wait for their entity", listParkedCommand(cfg), showParkedCommand(cfg), dropParkedCommand(cfg))
}

// A parkedCommander is one of the commands below parked.
type parkedCommander struct {
	operation
	recordFlags

	after string
	all   bool
}

func newParkedCommand(cfg *Config) *parkedCommander {
	c := &parkedCommander{}
	c.Config = cfg
	return c
}

// query returns what flags and arguments select.
func (c *parkedCommander) query(s *session) (q postgres.ParkedQuery, err error) {
	if err := c.parse(s); err != nil {
		return q, err
	}
	q = postgres.ParkedQuery{
		IDs: c.ids, Reason: versioning.Reason(c.reason), Machine: c.machine, Key: c.entity, Topic: c.topic,
		From: c.fromTime, To: c.toTime, Limit: c.limit,
	}
	if c.after == "" {
		return q, nil
	}
	at, id, _ := strings.Cut(c.after, "/")
	if q.AfterTime, err = time.Parse(time.RFC3339Nano, at); err == nil {
		q.AfterID, err = strconv.ParseInt(id, 10, 64)
	}
	if err != nil {
		return q, fmt.Errorf("--after is %q; it must be what the list before has shown", c.after)
	}
	return q, nil
}

func listParkedCommand(cfg *Config) *cobra.Command {
	c := newParkedCommand(cfg)
	cmd := c.command("list", "List parked records, those that have waited longest first", `List parked records, those that have waited longest first. Each waits for its
entity to move, and is judged again then.

JSON has: parked (id, parked_at, machine, entity, events, reason, seen_version,
definition, record), and next, the value for --after if there are more. A record
has topic, topic_id, partition, offset and timestamp, and with --payload key,
value and headers; then there is changes too.`,
		`  parked list --machine order --reason no_entity
  parked list --entity 1042`, cobra.NoArgs, func(ctx context.Context, s *session) error {
			q, err := c.query(s)
			if err != nil {
				return err
			}
			parked, err := s.op.Parked(ctx, q)
			if err != nil {
				return err
			}
			return c.list(s, parked)
		})
	c.register(&c.inspection, cmd, defaultLimit)
	cmd.Flags().StringVar(&c.after, "after", "", "go on after a record: `what` the list before has shown")
	cmd.Flags().BoolVar(&c.payload, "payload", false, "JSON also has the content of the records")
	return cmd
}

func (c *parkedCommander) list(s *session, parked []postgres.ParkedItem) error {
	view := struct {
		Parked []parkedView `json:"parked"`
		Next   string       `json:"next,omitempty"`
	}{Parked: []parkedView{}}
	for i := range parked {
		view.Parked = append(view.Parked, parkedViewOf(&parked[i], c.payload))
	}
	if n := len(parked); n > 0 && n == c.limit {
		last := &view.Parked[n-1]
		view.Next = fmt.Sprintf("%s/%d", last.ParkedAt.Format(time.RFC3339Nano), last.ID)
	}
	if s.isJSON {
		return s.json(view)
	}
	if len(parked) == 0 {
		s.line("no parked records")
		return nil
	}
	printParked(s.printer, view.Parked)
	first := &view.Parked[0]
	s.line("\n%s; see what an entity waits for with: %s", plural(int64(len(parked)), "record"), s.sibling("entity "+quoted(first.Entity)+" --machine "+quoted(first.Machine)))
	if view.Next != "" {
		s.line("there may be more: add --after %s", view.Next)
	}
	return nil
}

func showParkedCommand(cfg *Config) *cobra.Command {
	c := newParkedCommand(cfg)
	cmd := c.command("show ID", "Show a parked record", `Show a parked record. It may have to read all parked records to find it.

JSON has the fields of an element of list. The exit status is 1 if there is no
such record.`,
		"  parked show 17 --payload", cobra.ExactArgs(1), func(ctx context.Context, s *session) error {
			q, err := c.query(s)
			if err != nil {
				return err
			}
			parked, err := s.op.Parked(ctx, q)
			if err != nil {
				return err
			}
			if len(parked) == 0 {
				return absent("there is no parked record %d", c.ids[0])
			}
			v := parkedViewOf(&parked[0], c.payload)
			if s.isJSON {
				return s.json(v)
			}
			v.print(s)
			return nil
		})
	c.registerPayload(cmd)
	return cmd
}

func (v *parkedView) print(s *session) {
	p := s.printer
	p.line("%s", p.colors(bold, fmt.Sprintf("parked record %d", v.ID)))
	p.line("%-11s%s", "parked", p.at(v.ParkedAt))
	p.line("%-11s%s, topic ID %s, produced %s", "record", visible(v.origin), v.Record.TopicID, p.at(v.Record.Timestamp))
	p.line("%-11s%s", "waits for", visible(v.Machine+"/"+v.Entity))
	p.line("%-11s%s", "event", visible(strings.Join(v.Events, ", ")))
	p.line("%-11s%s, judged at version %d of the entity, by version %d of the machine", "reason", v.Reason, v.Seen, v.Definition)
	if v.Changes != nil {
		p.line("%-11s%s", "changes", visible(string(v.Changes)))
	}
	v.Record.print(p)
	p.line("")
	if v.Record.payload == nil {
		p.line("see its content with: %s", s.sibling(fmt.Sprintf("parked show %d --payload", v.ID)))
	}
	p.line("see its entity with: %s", s.sibling(fmt.Sprintf("entity %s --machine %s", quoted(v.Entity), quoted(v.Machine))))
}

func dropParkedCommand(cfg *Config) *cobra.Command {
	c := newParkedCommand(cfg)
	cmd := c.command("drop [ID...]", "Delete parked records for good", `Delete parked records for good. Table audit keeps who did it and which ones they
were, not what was in them. If such a record is delivered again, it is judged as
a new one. Records that are not dropped become dead letters when they have waited
too long.

It asks before, on a terminal; elsewhere it needs --yes. JSON has: dropped. The
exit status is 1 if a record that was named is not there.`,
		`  parked drop 17
  parked drop --machine order --entity 1042 --yes --as ada`, cobra.ArbitraryArgs, func(ctx context.Context, s *session) error {
			q, err := c.query(s)
			if err != nil {
				return err
			}
			if !c.chooses() && !c.all {
				return errNotChosen
			}
			if q.To.IsZero() {
				q.To = s.now // what arrives while it asks is not dropped
			}
			n, err := s.op.CountParked(ctx, q)
			if err != nil {
				return err
			}
			return c.dropCounted(s, "parked record", countOf(n), len(c.ids), func() (int64, error) {
				return s.op.DropParked(ctx, c.act(s, "parked drop"), q)
			})
		})
	c.register(&c.inspection, cmd, 0)
	c.ask(cmd)
	cmd.Flags().BoolVar(&c.all, "all", false, "all parked records")
	return cmd
}
