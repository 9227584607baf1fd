package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// An unsentView is an unsent message as JSON.
type unsentView struct {
	ID        int64     `json:"id"`
	DiedAt    time.Time `json:"died_at"`
	Machine   string    `json:"machine"`
	Entity    string    `json:"entity"`
	Event     string    `json:"event"`
	Version   int64     `json:"version"`
	MessageID string    `json:"message_id"`
	Topic     string    `json:"topic"`
	Reason    string    `json:"reason"`
	Detail    string    `json:"detail"`
	Attempts  int       `json:"attempts"`

	*payload
}

func unsentViewOf(m *versioning.UnsentMessage, withPayload bool) unsentView {
	v := unsentView{
		ID: m.ID, DiedAt: m.DiedAt.UTC(), Machine: m.Entity.Machine, Entity: m.Entity.Key, Event: string(m.Event), Version: m.Version,
		MessageID: m.Emitted.ID(), Topic: m.Topic, Reason: m.Reason, Detail: m.Detail, Attempts: m.Attempts,
	}
	if withPayload {
		v.payload = recordOf(&versioning.Record{Key: m.Key, Value: m.Value, Headers: m.Headers}, true).payload
	}
	return v
}

func printUnsent(p *printer, unsent []unsentView) {
	rows := [][]string{{" ID", "REFUSED", "MACHINE", "ENTITY", "EVENT", " VERSION", "TOPIC", "REASON", " ATTEMPTS"}}
	for i := range unsent {
		v := &unsent[i]
		rows = append(rows, []string{
			strconv.FormatInt(v.ID, 10), p.ago(v.DiedAt), v.Machine, v.Entity, v.Event, strconv.FormatInt(v.Version, 10), v.Topic, v.Reason, strconv.Itoa(v.Attempts),
		})
	}
	p.table(rows)
}

func unsentCommand(cfg *Config) *cobra.Command {
	return group("unsent", "List the messages that the broker has refused", listUnsentCommand(cfg))
}

func listUnsentCommand(cfg *Config) *cobra.Command {
	i := &inspection{Config: cfg}
	var f recordFlags
	var after int64
	cmd := i.command("list", "List the messages that the broker has refused, by ID", `List the messages of transitions that the broker has refused for good, by ID.
Store.Resend sends them again.

JSON has: unsent (id, died_at, machine, entity, event, version, message_id, topic,
reason, detail, attempts), and next, the ID for --after if there are more. With
--payload, there are key, value and headers too.`,
		`  unsent list --reason MESSAGE_TOO_LARGE
  unsent list --machine order --entity 1042 --payload --output json`, cobra.NoArgs, func(ctx context.Context, s *session) error {
			if err := f.parse(s); err != nil {
				return err
			}
			unsent, err := s.op.Unsent(ctx, postgres.UnsentFilter{
				Reason: f.reason, Machine: f.machine, Key: f.entity, Topic: f.topic, From: f.fromTime, To: f.toTime, After: after, Limit: f.limit,
			})
			if err != nil {
				return err
			}
			view := struct {
				Unsent []unsentView `json:"unsent"`
				Next   int64        `json:"next,omitempty"`
			}{Unsent: []unsentView{}}
			for n := range unsent {
				view.Unsent = append(view.Unsent, unsentViewOf(&unsent[n], f.payload))
			}
			if n := len(unsent); n > 0 && n == f.limit {
				view.Next = unsent[n-1].ID
			}
			if s.isJSON {
				return s.json(view)
			}
			if len(unsent) == 0 {
				s.line("no unsent messages")
				return nil
			}
			printUnsent(s.printer, view.Unsent)
			if s.line("\n%s", plural(int64(len(unsent)), "message")); view.Next > 0 {
				s.line("there may be more: add --after %d", view.Next)
			}
			return nil
		})
	f.register(i, cmd, defaultLimit)
	cmd.Flags().Int64Var(&after, "after", 0, "only those with an ID above `id`")
	cmd.Flags().BoolVar(&f.payload, "payload", false, "JSON also has the content of the messages")
	return cmd
}
