package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// A search looks for the steps that suspects have made. The history is read in parts, so that no
// statement takes long: a standby cancels those that hold up its recovery for too long.
type search struct {
	suspects    map[versioning.Origin]versioning.Settled
	at          origins
	machines    []string
	made        map[versioning.Origin][]madeStep
	next, pages int64 // of the table: the next one to read, and how many there were
}

// A madeStep is a step of a suspect.
type madeStep struct {
	Decoded

	version int64
}

// partPages is how many pages of the history are read at once: 256 MB with pages of 8 kB.
const partPages = 1 << 15

// LookUpOrigins adds to Redecoded the records that have made steps of other entities than now, or
// under other message IDs, and those that ask for nothing any more. It looks up the origins of the
// records so far that are no duplicates, of each verdict at most the first 10,000. The history has
// no index for that, so it is read as a whole, in parts. Call LookUpOrigins at the end, until there
// are no more parts: only then has it added the records. After an error, the next call reads the
// same part again.
func (h *Rehearsal) LookUpOrigins(ctx context.Context) (more bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.suspects) == 0 {
		return false, nil
	}
	if h.search == nil {
		s := h.newSearch()
		if err := h.store.pool.QueryRow(ctx, pagesSQL, oneMessage, h.store.schema.quoted+".transitions").Scan(&s.pages); err != nil {
			return true, withCause(fmt.Errorf("look up how large the history is: %w", throughPooler(err)))
		}
		h.search = s
	}
	s := h.search
	if err := s.read(ctx, h.store, s.next, s.next+h.part); err != nil {
		return true, withCause(fmt.Errorf("look up what the records have made: %w", throughPooler(err)))
	}
	if s.next += h.part; s.next < s.pages {
		return true, nil
	}
	for _, r := range s.redecoded() {
		h.redrawn.add(r)
	}
	h.suspects, h.search = nil, nil
	return false, nil
}

func (h *Rehearsal) newSearch() *search {
	s := &search{suspects: make(map[versioning.Origin]versioning.Settled), made: make(map[versioning.Origin][]madeStep)}
	for _, all := range h.suspects {
		for _, suspect := range all {
			s.at.add(suspect.Record.Origin)
			s.suspects[unnamed(suspect.Record.Origin)] = suspect
		}
	}
	for _, t := range h.store.configs {
		s.machines = append(s.machines, t.Machine.Name())
	}
	return s
}

// read reads the pages from first on and before end. The last part has no end, because the table
// may have grown.
func (s *search) read(ctx context.Context, store *Store, first, end int64) error {
	if end >= s.pages {
		end = maxPages
	}
	found := make(map[versioning.Origin][]madeStep)
	rows, err := store.pool.Query(ctx, store.schema.sql(madeBySQL), oneMessage, s.machines, s.at.ids, s.at.partitions, s.at.offsets,
		fmt.Sprintf("(%d,0)", first), fmt.Sprintf("(%d,0)", end))
	if err != nil {
		return err
	}
	var o versioning.Origin
	var d madeStep
	into := []any{&o.TopicID, &o.Partition, &o.Offset, &d.Entity.Machine, &d.Entity.Key, &d.Event, &d.MessageID, (*int64)(&d.Digest), &d.version}
	_, err = pgx.ForEachRow(rows, into, func() error {
		found[o] = append(found[o], d)
		return nil
	})
	if err != nil {
		return err
	}
	for o, steps := range found {
		s.made[o] = append(s.made[o], steps...)
	}
	return nil
}

// redecoded returns the suspects that are decoded to something else, in the order of their origins.
func (s *search) redecoded() (all []Redecoding) {
	for o, made := range s.made {
		slices.SortFunc(made, func(a, b madeStep) int {
			return cmp.Or(cmp.Compare(a.Entity.Machine, b.Entity.Machine), cmp.Compare(a.Entity.Key, b.Entity.Key), cmp.Compare(a.version, b.version))
		})
		steps := make([]Decoded, len(made))
		for i := range made {
			steps[i] = made[i].Decoded
		}
		suspect := s.suspects[o]
		if then, now, ok := changed(suspect.Record, steps); ok {
			all = append(all, Redecoding{suspect.Record, suspect.Outcome, then, now})
		}
	}
	slices.SortFunc(all, func(a, b Redecoding) int {
		x, y := a.Record.Origin, b.Record.Origin
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Offset, y.Offset))
	})
	return all
}

func unnamed(o versioning.Origin) versioning.Origin {
	o.Topic = ""
	return o
}

// maxPages is more pages than a table can have.
const maxPages = 1<<32 - 1

// madeBySQL reads the steps of machines $1 that the records $2, $3, $4 have made, of those in the
// history from $5 on and before $6.
const madeBySQL pawlSQL = `
SELECT h.topic_id, h.partition, h."offset", h.machine, h.entity, h.event, h.message_id, coalesce(h.digest, 0), h.version
FROM unnest($2::uuid[], $3::integer[], $4::bigint[]) AS u(topic_id, partition, "offset")
JOIN pawl.transitions AS h ON h.topic_id = u.topic_id AND h.partition = u.partition AND h."offset" = u."offset"
WHERE h.machine = ANY ($1::text[]) AND h.ctid >= $5::text::tid AND h.ctid < $6::text::tid`
