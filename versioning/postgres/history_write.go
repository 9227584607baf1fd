package postgres

import (
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// steps are columns of the history, for steps that share all other columns.
type steps struct {
	entities, events, from, to, messages texts
	versions, offsets, digests           bigints
	partitions                           integers
}

// history queues the steps of all moves. The steps of one machine by records of one
// topic share a statement, so what they have in common is sent only once.
func (w *writer) history(moves []*versioning.Move) {
	type shared struct {
		machine, topic string
		topicID        [16]byte
	}
	all := make(map[shared]*steps)
	var order []shared
	var name shared // of s, where the last step went; the next step usually goes there too
	var s *steps
	for _, m := range moves {
		for j := range m.Steps {
			step := &m.Steps[j]
			origin := &step.Record.Origin
			if now := (shared{m.Entity.Machine, origin.Topic, origin.TopicID}); s == nil || now != name {
				name = now
				if s = all[name]; s == nil {
					s = &steps{}
					if len(all) == 0 { // usually all steps are like the first one
						s = newSteps(moves)
					}
					all[name], order = s, append(order, name)
				}
			}
			s.entities = append(s.entities, m.Entity.Key)
			s.versions = append(s.versions, step.Version)
			s.events = append(s.events, string(step.Event))
			s.from = append(s.from, string(step.From))
			s.to = append(s.to, string(step.To))
			s.messages = append(s.messages, step.Record.Changes[step.Change].MessageID)
			s.digests = append(s.digests, int64(step.Digest()))
			s.partitions = append(s.partitions, origin.Partition)
			s.offsets = append(s.offsets, origin.Offset)
		}
	}
	for _, name := range order {
		s := all[name]
		definition := int32(w.store.rules[name.machine].Machine.Version())
		w.batch.Queue(w.store.schema.sql(insertHistorySQL), name.machine, definition, name.topic, pgtype.UUID{Bytes: name.topicID, Valid: true},
			s.partitions, s.offsets, s.entities, s.versions, s.events, s.from, s.to, s.messages, s.digests)
	}
}

// insertHistorySQL writes steps of machine $1, in version $2 of its definition, made by
// records of topic $3 with the ID $4.
const insertHistorySQL pawlSQL = `
INSERT INTO pawl.transitions (machine, definition_version, topic, topic_id, partition, "offset",
                              entity, version, event, from_state, to_state, message_id, digest)
SELECT $1::text, $2::integer, $3::text, $4::uuid, pg_catalog.unnest($5::integer[]), pg_catalog.unnest($6::bigint[]),
       pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::bigint[]), pg_catalog.unnest($9::text[]), pg_catalog.unnest($10::text[]), pg_catalog.unnest($11::text[]), pg_catalog.unnest($12::text[]),
       pg_catalog.unnest($13::bigint[])`

// newSteps allocates room for the steps of moves.
func newSteps(moves []*versioning.Move) *steps {
	n := 0
	for _, m := range moves {
		n += len(m.Steps)
	}
	return &steps{
		entities: make(texts, 0, n), events: make(texts, 0, n), from: make(texts, 0, n), to: make(texts, 0, n),
		messages: make(texts, 0, n), versions: make(bigints, 0, n), offsets: make(bigints, 0, n), digests: make(bigints, 0, n), partitions: make(integers, 0, n),
	}
}
