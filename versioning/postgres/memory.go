package postgres

import (
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// This file and recall.go save the reading of rows that the store has written itself. A memory
// has what a view needs of them: their states and versions, and which messages have moved them.
// An entity of which it knows nothing is assumed not to exist, if the first event that the batch
// has for it creates one.
//
// What is remembered may be wrong: another worker may have moved the row. So it decides nothing
// by itself. An entity may be recalled only if the batch moves it, and all its records in the
// batch are made. Then guards in the same transaction prove what the fold has relied on:
//
//   - The row: the guarded UPDATE finds the state and the version, or the INSERT finds no row.
//     Each step raises the version, so there was no other step, and no other message.
//   - The history of a new entity: its first step has version 1, and the primary key refuses a
//     second step with it.
//   - The server: it is the one on which the row was written. After a failover or a restore,
//     another message may have made the same version.
//   - Parked records: none waits for the entity.
//   - Dead letters: no record of the batch is one, if that was not read.
//
// A message that may have moved the entity before makes the reader read the row, and so does
// everything that is not just a new event. If a recalled entity does not move, or a guard fails,
// nothing is written, and the batch is judged again with rows that were read.

// A memory is what a snapshot of a store remembers, besides table.recent. It is safe for
// concurrent use.
type memory struct {
	seed maphash.Seed

	mu          sync.Mutex        // also guards table.recent
	server      versioning.Server // on which the rows were written; empty if nothing is remembered
	trust       trust             // in what is remembered
	trustAbsent trust             // in that other entities do not exist
}

// A memo is what is remembered of an entity. It does not change.
type memo struct {
	state    statemachine.State
	version  int64    // 0: it does not exist
	messages []uint32 // hashes of the IDs of all messages that have moved it
	unsure   bool     // records were parked for it, so it must be read
}

// absent is what is assumed of an entity of which nothing is remembered.
var absent = &memo{}

// mayHave reports whether a message with a hash may have moved the entity.
func (m *memo) mayHave(message uint32) bool { return slices.Contains(m.messages, message) }

// maxRemembered is the largest number of messages of an entity that is remembered.
const maxRemembered = 64

// recent has the memos of a table by key: those of the last entities, and some older ones.
type recent struct{ last, older map[string]*memo }

// generation is the number of entities after which the older memos are forgotten. With twice as
// many, a memory takes a few megabytes.
const generation = 1 << 15

func (r *recent) of(key string) *memo {
	if known := r.last[key]; known != nil {
		return known
	}
	return r.older[key]
}

// put remembers an entity; nil forgets it.
func (r *recent) put(key string, known *memo) {
	if known == nil {
		delete(r.last, key)
		delete(r.older, key)
		return
	}
	if len(r.last) >= generation {
		r.last, r.older = nil, r.last
	}
	if r.last == nil {
		r.last = make(map[string]*memo)
	}
	if r.last[key] == nil {
		key = strings.Clone(key) // it may be a part of something large
	}
	r.last[key] = known
}

// A trust says how often something may be relied on. The zero value says always.
type trust struct {
	doubt int // how long to wait after the next failure, in transactions
	wait  int // transactions until it may be relied on again
}

const maxDoubt = 256

func (t *trust) ask() bool {
	if t.wait == 0 {
		return true
	}
	t.wait--
	return false
}

func (t *trust) lose() {
	t.doubt = min(2*t.doubt+2, maxDoubt)
	t.wait = t.doubt
}

func (t *trust) gain() { t.doubt = max(t.doubt-1, 0) }

func newMemory() *memory { return &memory{seed: maphash.MakeSeed()} }

// hash returns a hash of a message ID.
func (m *memory) hash(id string) uint32 { return uint32(maphash.String(m.seed, id)) } //nolint:gosec // half of it will do

// of returns what is remembered of an entity, or nil.
func (m *memory) of(t *table, key string) *memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return t.recent.of(key)
}

// A recollection is what one transaction takes from a memory.
type recollection struct {
	server versioning.Server // on which the rows were written
	absent bool              // other entities may be assumed not to exist

	entities int // that were recalled
	assumed  int // of these, those that were assumed not to exist
}

// recollect returns a recollection for a transaction on a server, any if it is empty, or nil if
// the transaction has to read everything.
func (m *memory) recollect(on versioning.Server, records []*versioning.Record) *recollection {
	for _, r := range records {
		if p := preparedOf(r); r.Redrive || p.dead != nil || p.kept != nil {
			return nil
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server == "" || on != "" && on != m.server || !m.trust.ask() {
		return nil
	}
	return &recollection{server: m.server, absent: m.trustAbsent.ask()}
}

// learn remembers the rows that a transaction has written. It must have committed.
func (m *memory) learn(r *reader, c *script) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.server != m.server {
		r.store.forgetRows()
		m.server = c.server
	}
	if r.recalls != nil && r.recalls.entities > 0 {
		m.trust.gain()
		if r.recalls.assumed > 0 {
			m.trustAbsent.gain()
		}
	}
	for i, move := range c.moves {
		if t := r.store.byMachine[move.Entity.Machine]; t.isRecallable() {
			t.recent.put(move.Entity.Key, c.memos[i])
		}
	}
	for _, parked := range [][]versioning.Parked{r.view.Parked, c.plan.Park} {
		for _, p := range parked {
			if t := r.store.byMachine[p.Entity.Machine]; t.isRecallable() {
				t.recent.put(p.Entity.Key, &memo{unsure: true})
			}
		}
	}
}

// mistrust notes that a transaction has failed although nobody was to blame but what was
// recalled.
func (m *memory) mistrust(recalls *recollection) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if recalls.assumed > 0 {
		m.trustAbsent.lose()
	} else {
		m.trust.lose()
	}
}

// forget forgets entities.
func (s *snapshot) forget(entities iter.Seq[versioning.Entity]) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	for e := range entities {
		if t := s.byMachine[e.Machine]; t != nil {
			t.recent.put(e.Key, nil)
		}
	}
}

// forgetAll forgets everything.
func (s *snapshot) forgetAll() {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.memory.server = ""
	s.forgetRows()
}

// forgetRows forgets all rows, with the lock held.
func (s *snapshot) forgetRows() {
	for _, t := range s.tables {
		t.recent = recent{}
	}
}

// memos returns what to remember of the entities of moves once these are committed.
func (r *reader) memos(moves []*versioning.Move) []*memo {
	memos := make([]*memo, len(moves))
	for i, move := range moves {
		if r.store.byMachine[move.Entity.Machine].isRecallable() {
			memos[i] = r.memo(move)
		}
	}
	return memos
}

// memo returns what to remember of the entity of a move, or nil: all messages that have moved it
// must be known, and they must be few.
func (r *reader) memo(move *versioning.Move) *memo {
	k, m := move.Known(), r.store.memory
	var before []uint32
	switch had := r.past(k); {
	case had.memo != nil:
		before = had.memo.messages
	case k.Row.Gone, k.Exists && (!had.hasFirst || had.hasMore):
		return nil
	default:
		for id := range k.Messages.All() {
			before = append(before, m.hash(id))
		}
	}
	if len(before)+len(move.Steps) > maxRemembered {
		return nil
	}
	known := &memo{messages: make([]uint32, len(before), len(before)+len(move.Steps))}
	copy(known.messages, before)
	for i := range move.Steps {
		s := &move.Steps[i]
		known.messages = append(known.messages, m.hash(s.Record.Changes[s.Change].MessageID))
	}
	known.state, known.version = move.To()
	return known
}

// isRecallable reports whether rows of the table may be recalled. Functions compute with columns
// that other programs may change. Without message IDs, it is unknown which messages have moved an
// entity.
func (t *table) isRecallable() bool { return !t.rows.hasFields() && t.Identity == versioning.ByMessage }
