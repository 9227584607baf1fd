package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning/postgres"
)

// A statusView is what status prints. It is documented in the command's help.
type statusView struct {
	At            time.Time     `json:"at"`
	SchemaVersion int64         `json:"schema_version"`
	MessageHashes bool          `json:"message_hashes"`
	Machines      []machineView `json:"machines"`
	Outbox        outboxView    `json:"outbox"`
	Unsent        count         `json:"unsent"`
	Groups        []groupView   `json:"groups"`
	Attention     []attention   `json:"attention"`

	lagKnown, partitions bool
}

type machineView struct {
	Machine     string      `json:"machine"`
	Versions    []int       `json:"versions"`
	Withdrawn   []int       `json:"withdrawn,omitempty"`
	Table       string      `json:"table,omitempty"`
	Problem     string      `json:"table_problem,omitempty"`
	Rows        count       `json:"rows"`
	States      []stateView `json:"states"`
	Parked      keptView    `json:"parked"`
	DeadLetters keptView    `json:"dead_letters"`
	Timers      timersView  `json:"timers"`
	CaughtUp    time.Time   `json:"caught_up,omitzero"`
}

type stateView struct {
	State string `json:"state"`
	Rows  count  `json:"rows"`
}

type keptView struct {
	Count   count            `json:"count"`
	Reasons map[string]int64 `json:"reasons,omitempty"`
	Oldest  time.Time        `json:"oldest,omitzero"`
	Newest  time.Time        `json:"newest,omitzero"`

	reasons []postgres.ReasonCount
}

type timersView struct {
	Pending int64     `json:"pending"`
	Overdue int64     `json:"overdue"`
	AtLeast bool      `json:"at_least"`
	Oldest  time.Time `json:"oldest_overdue,omitzero"`
}

type outboxView struct {
	Packs    count     `json:"packs"`
	Messages count     `json:"messages"`
	Oldest   time.Time `json:"oldest,omitzero"`
}

type groupView struct {
	Group      string          `json:"group"`
	Topic      string          `json:"topic"`
	Lag        *int64          `json:"lag,omitempty"` // nil without brokers
	Written    time.Time       `json:"last_mark"`     // the oldest of the partitions'
	Partitions []partitionView `json:"partitions"`
}

type partitionView struct {
	Partition int32     `json:"partition"`
	Settled   int64     `json:"settled"`
	Written   time.Time `json:"last_mark"`
	Lag       *int64    `json:"lag,omitempty"`

	topicID [16]byte
}

// An attention is something that an operator should look at.
type attention struct {
	What string `json:"what"`
	Next string `json:"next"` // a command, or advice
}

// A statusCommander is the command status.
type statusCommander struct {
	inspection

	kafka      kafkaFlags
	partitions bool
	check      bool
}

func statusCommand(cfg *Config) *cobra.Command {
	c := &statusCommander{inspection: inspection{Config: cfg}}
	cmd := c.command("status", "Show what the database has, and what to look at", `Show what the database has: the machines with their registered versions, the rows
by state, parked records, dead letters, timers, messages that are not published
yet, and how far each group has settled its topics.

Numbers with a + are lower limits: counting has stopped there. Numbers with a ~
are estimates from a sample of the table; a sample misses states with few rows,
unless an index begins with the state. "Read to the end" is when a worker last
had nothing left to read, of the partition that is furthest behind. Without
--brokers, that and the age of the marks is all that the database knows of lag.

JSON has: at, schema_version, message_hashes, machines (machine, versions,
withdrawn, table, table_problem, rows, states, parked, dead_letters, timers,
caught_up), outbox (packs, messages, oldest), unsent, groups (group, topic, lag,
last_mark, partitions), attention (what, next). A count has n, at_least and
estimated.

The exit status is 0, with --check 1 if there is something to look at, and 2
after an error.`,
		`  status                     what there is
  status --brokers localhost:9092 --partitions
  status --brokers kafka:9093 --kafka-tls --kafka-sasl-mechanism scram-sha-512
  status --check --output json`, cobra.NoArgs, c.run)
	c.kafka.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&c.partitions, "partitions", false, "show each partition")
	flags.BoolVar(&c.check, "check", false, "exit with status 1 if there is something to look at")
	return cmd
}

func (c *statusCommander) run(ctx context.Context, s *session) error {
	kafka, err := c.kafka.options(c.Client)
	if err != nil {
		return err
	}
	status, err := s.op.Status(ctx)
	if err != nil {
		return err
	}
	s.now = status.Now
	v := viewOf(status)
	v.partitions = c.partitions
	if len(kafka) > 0 {
		if err := v.addLag(ctx, append(slices.Clone(c.Client), kafka...), c.kafka.advice); err != nil {
			return err
		}
	}
	v.attend(s.printer, s.sibling)
	if s.isJSON {
		err = s.json(v)
	} else {
		v.print(s.printer)
	}
	if err == nil && c.check && len(v.Attention) > 0 {
		err = ErrFound
	}
	return err
}

func viewOf(s *postgres.Status) *statusView {
	v := &statusView{
		At: s.Now.UTC(), SchemaVersion: s.SchemaVersion, MessageHashes: s.MessageHashes, Unsent: countOf(s.Unsent),
		Machines: []machineView{}, Groups: []groupView{}, Attention: []attention{},
		Outbox: outboxView{countOf(s.Outbox.Packs), countOf(s.Outbox.Messages), utc(s.Outbox.Oldest)},
	}
	for i := range s.Machines {
		v.Machines = append(v.Machines, machineViewOf(&s.Machines[i]))
	}
	for _, m := range s.Marks { // they are sorted by group and topic
		n := len(v.Groups)
		if n == 0 || v.Groups[n-1].Group != m.Group || v.Groups[n-1].Topic != m.Topic {
			v.Groups = append(v.Groups, groupView{Group: m.Group, Topic: m.Topic, Written: m.At.UTC()})
			n++
		}
		g := &v.Groups[n-1]
		g.Partitions = append(g.Partitions, partitionView{Partition: m.Partition, Settled: m.Offset, Written: m.At.UTC(), topicID: m.TopicID})
		if m.At.Before(g.Written) {
			g.Written = m.At.UTC()
		}
	}
	return v
}

func machineViewOf(m *postgres.MachineStatus) machineView {
	v := machineView{
		Machine: m.Name, Table: m.Table, Problem: m.TableProblem, Rows: countOf(m.Rows),
		Versions: []int{}, States: []stateView{},
		Parked: keptViewOf(&m.Parked), DeadLetters: keptViewOf(&m.DeadLetters),
		Timers:   timersView{m.Timers.Pending, m.Timers.Overdue, m.Timers.AtLeast, utc(m.Timers.Oldest)},
		CaughtUp: utc(m.CaughtUp),
	}
	for _, d := range m.Definitions {
		if d.Withdrawn {
			v.Withdrawn = append(v.Withdrawn, d.Outline.Version)
		} else {
			v.Versions = append(v.Versions, d.Outline.Version)
		}
	}
	for _, s := range m.States {
		v.States = append(v.States, stateView{string(s.State), countOf(s.Count)})
	}
	return v
}

func keptViewOf(k *postgres.KeptStatus) keptView {
	v := keptView{Count: countOf(k.Count), Oldest: utc(k.Oldest), Newest: utc(k.Newest), reasons: k.ByReason}
	if len(k.ByReason) > 0 {
		v.Reasons = make(map[string]int64)
	}
	for _, r := range k.ByReason {
		v.Reasons[string(r.Reason)] = r.N
	}
	return v
}

// utc is Time.UTC, but keeps the zero time.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}
