package cli

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning"
)

// recordFlags select dead letters, parked records and the like.
type recordFlags struct {
	machine, entity, topic, reason string
	from, to                       string
	limit                          int
	payload                        bool

	bounded          bool // limit 0 is not allowed
	fromTime, toTime time.Time
	ids              []int64
}

func (f *recordFlags) register(i *inspection, cmd *cobra.Command, limit int) {
	flags := cmd.Flags()
	flags.StringVar(&f.machine, "machine", "", "of this `machine`")
	i.completeMachines(cmd, "machine")
	flags.StringVar(&f.entity, "entity", "", "of the entity with this `key`")
	flags.StringVar(&f.topic, "topic", "", "of this `topic`")
	flags.StringVar(&f.reason, "reason", "", "kept for this `reason`, such as undecodable or no_entity")
	flags.StringVar(&f.from, "from", "", "kept at this `time` or later: 2026-01-31T12:00:00Z, or 2h for two hours ago")
	flags.StringVar(&f.to, "to", "", "kept before this `time`")
	flags.IntVar(&f.limit, "limit", limit, limitText(limit))
	f.bounded = limit > 0
}

// maxLimit limits what a list has in memory.
const maxLimit = 10_000

func checkLimit(n int) error {
	if n < 1 || n > maxLimit {
		return fmt.Errorf("--limit is %d; it must be 1 to %d", n, maxLimit)
	}
	return nil
}

func limitText(limit int) string {
	if limit == 0 {
		return "at most `n`; 0 is no limit"
	}
	return "at most `n`"
}

func (f *recordFlags) registerPayload(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.payload, "payload", false, "also the key, value and headers of the record")
}

// parse parses flags and arguments.
func (f *recordFlags) parse(s *session) (err error) {
	if f.bounded {
		if err := checkLimit(f.limit); err != nil {
			return err
		}
	}
	if f.limit < 0 {
		return fmt.Errorf("--limit is %d; it must not be negative", f.limit)
	}
	if f.fromTime, err = parseTime("--from", f.from, s.now); err != nil {
		return err
	}
	if f.toTime, err = parseTime("--to", f.to, s.now); err != nil {
		return err
	}
	f.ids, err = parseIDs(s.args)
	return err
}

func parseIDs(args []string) (ids []int64, err error) {
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not an ID; list shows the IDs", arg)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// chooses reports whether anything narrows the selection.
func (f *recordFlags) chooses() bool {
	return len(f.ids) > 0 || f.machine+f.entity+f.topic+f.reason+f.from+f.to != ""
}

// parseTime parses a time, or a duration before now.
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%s is %q; it must be a time such as 2026-01-31T12:00:00Z, or a duration such as 2h", flag, text)
	}
	return now.Add(-d), nil
}

// A record is a Kafka record as JSON. Its content is there only if it was asked for.
type record struct {
	Topic     string    `json:"topic"`
	TopicID   string    `json:"topic_id"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp"`

	*payload
}

// A payload is the content of a record. Bytes that are not UTF-8 are in the field for base64.
type payload struct {
	Key       *string  `json:"key,omitempty"`
	KeyBase64 []byte   `json:"key_base64,omitempty"`
	Value     *string  `json:"value,omitempty"`
	Base64    []byte   `json:"value_base64,omitempty"`
	Headers   []header `json:"headers,omitempty"`
}

type header struct {
	Key    string  `json:"key"`
	Value  *string `json:"value,omitempty"`
	Base64 []byte  `json:"value_base64,omitempty"`
}

func recordOf(r *versioning.Record, withPayload bool) record {
	id := r.Origin.ID()
	v := record{
		Topic: r.Origin.Topic, TopicID: id[:36], Partition: r.Origin.Partition, Offset: r.Origin.Offset, Timestamp: r.Timestamp.UTC(),
	}
	if withPayload {
		v.payload = &payload{}
		v.Key, v.KeyBase64 = textOrBytes(r.Key)
		v.Value, v.Base64 = textOrBytes(r.Value)
		for _, h := range r.Headers {
			text, bytes := textOrBytes(h.Value)
			v.Headers = append(v.Headers, header{h.Key, text, bytes})
		}
	}
	return v
}

// print prints the content of a record, if it has one.
func (v *payload) print(p *printer) {
	if v == nil {
		return
	}
	show := func(name string, text *string, bytes []byte) {
		switch {
		case text != nil:
			p.line("%-11s%s", name, lines(*text, "           "))
		case bytes != nil:
			p.line("%-11s%d bytes that are not text: %x", name, len(bytes), bytes)
		default:
			p.line("%-11s(none)", name)
		}
	}
	show("key", v.Key, v.KeyBase64)
	for _, h := range v.Headers {
		value := fmt.Sprintf("%x", h.Base64)
		if h.Value != nil {
			value = *h.Value
		}
		show("header", new(h.Key+": "+value), nil)
	}
	show("value", v.Value, v.Base64)
}

// textOrBytes returns UTF-8 as text, and other bytes as they are. Both are nil if there is nothing.
func textOrBytes(data []byte) (text *string, bytes []byte) {
	switch {
	case data == nil:
		return nil, nil
	case utf8.Valid(data):
		return new(string(data)), nil
	}
	return nil, data
}
