package postgres

import (
	"github.com/pawl-go/pawl/versioning"

	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
)

// This file writes and reads the records that are kept whole: parked ones and
// dead letters.

// scope is what kept records of one origin are told apart by: the machine of the
// first change, or all machines of the store where there is none that it knows. Workers
// that consume one topic for different machines must not take each other's dead
// letters for their own.
func (s *edition) scope(r *versioning.Record) string {
	if kept := preparedOf(r).kept; kept != nil && !r.Redrive {
		return *kept
	}
	if len(r.Changes) > 0 && s.byMachine[r.Changes[0].Machine] != nil {
		return r.Changes[0].Machine
	}
	return s.allMachines()
}

// allMachines is the scope of a record that could be for any machine of the store.
func (s *edition) allMachines() string {
	return strings.Join(slices.Sorted(slices.Values(s.machines())), ",")
}

// isLetter reports whether a dead letter with the record's origin is that of the record.
// Letters that have the record's scope are, and those from when it could not be decoded;
// and any that the store's machines may have left, if it can't be now.
//
// Earlier versions gave undecodable records no scope. Such a letter may belong to a
// worker for other machines, which can't decode the record yet. So it keeps the record
// from dying twice, and only a redrive removes it.
func (s *edition) isLetter(r *versioning.Record, scope string) bool {
	if r.Redrive {
		return scope == *preparedOf(r).kept
	}
	return scope == s.scope(r) || r.Err != nil || strings.Contains(scope, ",")
}

// letterAt returns the scope of a record's dead letter.
func (w *writer) letterAt(r *versioning.Record) string {
	if scope, ok := w.letters[r.Origin]; ok {
		return scope
	}
	return w.store.scope(r)
}

// keptAt are columns of the origins and scopes of kept records.
type keptAt struct {
	origins

	scopes []string
}

func (k *keptAt) add(r *versioning.Record, scope string) {
	k.origins.add(r.Origin)
	k.scopes = append(k.scopes, scope)
}

// origins are columns of origins, as parameters for unnest.
type origins struct {
	ids        []pgtype.UUID
	partitions integers
	offsets    bigints
}

func (o *origins) add(at versioning.Origin) {
	o.ids = append(o.ids, pgtype.UUID{Bytes: at.TopicID, Valid: true})
	o.partitions = append(o.partitions, at.Partition)
	o.offsets = append(o.offsets, at.Offset)
}

// wholes are columns of whole records, as parameters for unnest.
type wholes struct {
	keptAt

	topics     []string
	keys       [][]byte
	values     [][]byte
	headers    []string // JSON
	timestamps []time.Time
}

func (w *wholes) add(s *edition, r *versioning.Record) {
	w.keptAt.add(r, s.scope(r))
	w.topics = append(w.topics, r.Origin.Topic)
	w.keys = append(w.keys, r.Key)
	w.values = append(w.values, r.Value)
	w.headers = append(w.headers, encodeHeaders(r.Headers))
	w.timestamps = append(w.timestamps, storableTime(r.Timestamp))
}

// storableTime keeps a producer's time within what PostgreSQL can hold: a
// timestamp is any 64-bit number in Kafka.
func storableTime(t time.Time) time.Time {
	t = t.UTC()
	switch {
	case t.Year() < 1:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 9999:
		return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	return t
}

// storedHeader is a Header as JSON. A key that JSON in PostgreSQL can't hold is
// kept as bytes.
type storedHeader struct {
	Key      string `json:"key,omitempty"`
	KeyBytes []byte `json:"key_base64,omitempty"`
	Value    []byte `json:"value_base64"`
}

func encodeHeaders(headers []versioning.Header) string {
	stored := make([]storedHeader, len(headers))
	for i, h := range headers {
		stored[i].Value = h.Value
		if versioning.StorableText(h.Key) {
			stored[i].Key = h.Key
		} else {
			stored[i].KeyBytes = []byte(h.Key)
		}
	}
	return mustJSON(stored)
}

func decodeHeaders(data []byte) ([]versioning.Header, error) {
	var stored []storedHeader
	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, fmt.Errorf("stored headers: %w", err)
	}
	if len(stored) == 0 {
		return nil, nil
	}
	headers := make([]versioning.Header, len(stored))
	for i, h := range stored {
		headers[i] = versioning.Header{Key: h.Key + string(h.KeyBytes), Value: h.Value}
	}
	return headers, nil
}

// storedChange is a Change as JSON, with its columns as text: a worker that
// knows nothing of the topic's messages can apply it.
type storedChange struct {
	Machine   string             `json:"machine"`
	Key       string             `json:"key"`
	Event     string             `json:"event"`
	MessageID string             `json:"message_id"`
	FormerID  string             `json:"former_id,omitempty"`
	Digest    versioning.Digest  `json:"digest,omitempty"`
	Expected  *int64             `json:"expected_version,omitempty"`
	Set       map[string]*string `json:"set,omitempty"`
}

// encodeChanges returns the changes of a prepared record.
func (s *edition) encodeChanges(r *versioning.Record) string {
	stored := make([]storedChange, len(r.Changes))
	for i := range r.Changes {
		c := &r.Changes[i]
		stored[i] = storedChange{Machine: c.Machine, Key: c.Key, Event: string(c.Event), MessageID: c.MessageID, FormerID: c.FormerID}
		if v, ok := c.Expected.Version(); ok {
			stored[i].Expected = &v
		}
		if columns := setOf(r, i); columns != nil {
			stored[i].Set, stored[i].Digest = s.byMachine[c.Machine].textOf(columns), r.Digests[i]
		}
	}
	return mustJSON(stored)
}

func (t *table) textOf(columns []column) map[string]*string {
	set := make(map[string]*string, len(columns))
	for _, c := range columns {
		set[t.columns[c.at].name] = nil
		if !c.null {
			set[t.columns[c.at].name] = &c.text
		}
	}
	return set
}

// decodeChanges gives a parked record its changes back. Those of machines that
// this store does not have are left unprepared: the fold leaves them waiting.
func (s *edition) decodeChanges(r *versioning.Record, data []byte) error {
	var stored []storedChange
	if err := json.Unmarshal(data, &stored); err != nil {
		return fmt.Errorf("stored changes: %w", err)
	}
	r.Changes = make([]versioning.Change, len(stored))
	r.Digests = make([]versioning.Digest, len(stored))
	for i, c := range stored {
		r.Changes[i] = versioning.Change{Machine: c.Machine, Key: c.Key, Event: statemachine.Event(c.Event), MessageID: c.MessageID, FormerID: c.FormerID}
		if c.Expected != nil {
			r.Changes[i].Expected = versioning.At(*c.Expected)
		}
		if s.byMachine[c.Machine] == nil {
			continue
		}
		set := make(versioning.Columns, len(c.Set))
		for name, text := range c.Set {
			set[name] = nil
			if text != nil {
				set[name] = *text
			}
		}
		r.Changes[i].Set = set
		if err := s.prepare(r, i); err != nil && r.Err == nil {
			r.Err = err // the table has changed since; the record's verdict says how
		}
		r.Digests[i] = cmp.Or(c.Digest, r.Digests[i])
	}
	return nil
}

// mustJSON encodes values of this file's own types, which always can be.
func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func (w *writer) park(parked []versioning.Parked) {
	var whole wholes
	var machines, entities, reasons, changes []string
	var seen []int64
	for _, p := range parked {
		whole.add(w.store, p.Record)
		machines = append(machines, p.Entity.Machine)
		entities = append(entities, p.Entity.Key)
		reasons = append(reasons, string(p.Reason))
		seen = append(seen, p.Seen)
		changes = append(changes, w.store.encodeChanges(p.Record))
	}
	if len(parked) > 0 {
		w.batch.Queue(w.store.schema.sql(insertParkedSQL), whole.ids, whole.partitions, whole.offsets, whole.scopes, whole.topics, machines, entities,
			reasons, seen, changes, whole.keys, whole.values, whole.headers, whole.timestamps)
	}
}

func (w *writer) repark(parked []versioning.Parked) {
	var at keptAt
	var machines, entities, reasons []string
	var seen []int64
	for _, p := range parked {
		at.add(p.Record, w.store.scope(p.Record))
		machines = append(machines, p.Entity.Machine)
		entities = append(entities, p.Entity.Key)
		reasons = append(reasons, string(p.Reason))
		seen = append(seen, p.Seen)
	}
	if len(parked) > 0 {
		w.batch.Queue(w.store.schema.sql(updateParkedSQL), at.ids, at.partitions, at.offsets, at.scopes, machines, entities, reasons, seen)
	}
}

// remove deletes kept records that are settled, from the scopes that scope returns. All
// of them have to be there.
func (w *writer) remove(sql pawlSQL, settled []versioning.Settled, scope func(*versioning.Record) string) {
	var at keptAt
	for _, s := range settled {
		at.add(s.Record, scope(s.Record))
	}
	if len(settled) > 0 {
		w.guarded(len(settled), w.store.schema.sql(sql), []any{at.ids, at.partitions, at.offsets, at.scopes})
	}
}

// bury keeps records as dead letters. They wait no longer, in case they did.
func (w *writer) bury(dead []versioning.Settled) {
	var at origins
	for _, d := range dead {
		at.add(d.Record.Origin)
	}
	if len(dead) > 0 {
		w.batch.Queue(w.store.schema.sql(unparkSQL), at.ids, at.partitions, at.offsets, w.store.machines())
	}
	isOld := func(s versioning.Settled) bool { _, ok := w.letters[s.Record.Origin]; return ok }
	isNew := func(s versioning.Settled) bool { return !isOld(s) }
	w.insertDead(slices.DeleteFunc(slices.Clone(dead), isOld))
	w.updateDead(slices.DeleteFunc(slices.Clone(dead), isNew))
}

// outcomes are columns of outcomes, as parameters for unnest.
type outcomes struct {
	verdicts, reasons, details, machines, entities, events []string
}

func (c *outcomes) add(o versioning.Outcome) {
	c.verdicts = append(c.verdicts, o.Verdict.String())
	c.reasons = append(c.reasons, string(o.Reason))
	c.details = append(c.details, textFor(o.Detail))
	c.machines = append(c.machines, textFor(o.Entity.Machine))
	c.entities = append(c.entities, textFor(o.Entity.Key))
	c.events = append(c.events, textFor(string(o.Event)))
}

func (w *writer) insertDead(dead []versioning.Settled) {
	var whole wholes
	var o outcomes
	for _, d := range dead {
		whole.add(w.store, d.Record)
		o.add(d.Outcome)
	}
	if len(dead) > 0 {
		w.batch.Queue(w.store.schema.sql(insertDeadSQL), whole.ids, whole.partitions, whole.offsets, whole.scopes, whole.topics,
			o.verdicts, o.reasons, o.details, o.machines, o.entities, o.events,
			whole.keys, whole.values, whole.headers, whole.timestamps)
	}
}

// updateDead gives dead letters that were judged again in vain their new outcomes.
// One that has gone meanwhile was redriven by somebody else: it must not come
// back.
func (w *writer) updateDead(dead []versioning.Settled) {
	var at keptAt
	var o outcomes
	for _, d := range dead {
		at.add(d.Record, w.letterAt(d.Record))
		o.add(d.Outcome)
	}
	if len(dead) > 0 {
		w.guarded(len(dead), w.store.schema.sql(updateDeadSQL), []any{
			at.ids, at.partitions, at.offsets, at.scopes,
			o.verdicts, o.reasons, o.details, o.machines, o.entities, o.events,
		})
	}
}

// maxDetailBytes bounds what a dead letter says in words.
const maxDetailBytes = 4096

// textFor makes text that came from a message storable.
func textFor(s string) string {
	if len(s) > maxDetailBytes {
		s = s[:maxDetailBytes]
	}
	if versioning.StorableText(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
}

func (r *reader) scanParked(rows pgx.Rows) error {
	parked, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (parkedInTurn, error) {
		p, err := r.store.scanParked(row)
		if r.parkedBytes += sizeOf(p.Record); err == nil && r.parkedBytes > maxParkedBytes && r.how.bounded {
			err = errTooMuchParked
		}
		return p, err
	})
	r.parked = append(r.parked, parked...)
	return err
}

// scanParked reads a row of the columns parkedColumns, and more that follow.
func (s *edition) scanParked(row pgx.Row, more ...any) (parkedInTurn, error) {
	p := parkedInTurn{Parked: versioning.Parked{Record: &versioning.Record{}}}
	r := p.Record
	var scope string
	var changes, headers []byte
	err := row.Scan(append([]any{
		&r.Origin.Topic, &r.Origin.TopicID, &r.Origin.Partition, &r.Origin.Offset, &scope, &p.seq,
		&p.Entity.Machine, &p.Entity.Key, &p.Reason, &p.Seen, &changes, &r.Key, &r.Value, &headers, &r.Timestamp,
	}, more...)...)
	if err != nil {
		return p, err
	}
	keptAs(r, scope)
	if r.Headers, err = decodeHeaders(headers); err != nil {
		return p, err
	}
	return p, s.decodeChanges(r, changes)
}
