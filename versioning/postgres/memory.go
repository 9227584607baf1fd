package postgres

import (
	"slices"
	"sync"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// This file and recall.go save the reading of rows that the store has written itself. A memory
// has what a view needs of them: state, version, and which messages have moved them. An entity of
// which it knows nothing is assumed not to exist, if the first event that the batch has for it
// creates one, and no table has triggers: they may write or remove rows. If that suffices for all
// entities of a batch, nothing is read.
//
// What is remembered may be wrong: others may have changed the row since. So it decides nothing
// by itself. It is relied on only if every entity of the batch moves, and all records are made or
// repeat others of the batch. Then guards in the same transaction prove what the fold has taken
// for true:
//
//   - The row is exactly the one that the store has written: the guarded UPDATE also compares the
//     transaction that has written it last. So nobody has written it since, or deleted and
//     created it anew, and no message has moved it but those that are remembered.
//   - It is the same server: a failover may have lost the row, and then the numbers of
//     transactions are used again.
//   - An entity that is taken for new has no history. If it has a row, the INSERT fails.
//   - No records are parked for the entities.
//   - No record of the batch is a dead letter.
//
// In all other cases the batch is read. If a guard fails, nothing is written, and the batch is
// read too.
//
// One thing is taken for true without proof, as by every batch: between reading a row and writing
// it, nobody deletes it with its history and makes another one up to the same version. (Then the
// history that was read is another one's.) Whoever changes a history must call Exclude and write
// the row.

// A memory is what a snapshot of a store remembers, together with table.recent. It is safe for
// concurrent use.
type memory struct {
	mu     sync.Mutex        // also guards table.recent
	server versioning.Server // on which the rows were written; empty if nothing is remembered
}

// A memo is what is remembered of an entity. It does not change once it is in the memory.
type memo struct {
	key      string
	state    statemachine.State
	version  int64    // 0: the entity does not exist
	writer   string   // the transaction that has written the row
	messages []uint32 // hashes of the IDs of all messages that have moved the entity, sorted
	unsure   bool     // records were parked for it, so it must be read
}

// absent is what is assumed of an entity of which nothing is remembered.
var absent = &memo{}

// mayHave reports whether a message with a hash may have moved the entity.
func (m *memo) mayHave(message uint32) bool {
	_, found := slices.BinarySearch(m.messages, message)
	return found
}

// maxRemembered is the largest number of messages of an entity that is remembered: with each
// move, they are copied.
const maxRemembered = 1 << 12

// A reliance says what of a table a transaction relies on.
type reliance struct {
	table                *table
	losses, lossesAbsent int  // of the trusts
	absent               bool // entities were assumed not to exist
}

func newMemory() *memory { return &memory{} }

// of returns what is remembered of an entity whose row was written on a server, or nil.
func (m *memory) of(t *table, key string, server versioning.Server) *memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server != server {
		return nil // what was remembered is forgotten
	}
	return t.recent.of(key)
}

// serverFor returns the server on which the rows were written, if a transaction on a server can
// use what is remembered of them. An empty argument means any server, an empty result none.
func (m *memory) serverFor(on versioning.Server) versioning.Server {
	m.mu.Lock()
	defer m.mu.Unlock()
	if on != "" && on != m.server {
		return ""
	}
	return m.server
}

// ask reports whether a transaction may rely on what is remembered of a table's rows.
func (m *memory) ask(t *table) (r reliance, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.table = t
	r.losses, ok = t.recent.trust.ask()
	return r, ok
}

// askAbsent reports whether the transaction may also assume that entities do not exist.
func (m *memory) askAbsent(r *reliance) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !r.absent {
		r.lossesAbsent, r.absent = r.table.recent.trustAbsent.ask()
	}
	return r.absent
}

// learn remembers what a transaction has written. It must have committed.
func (m *memory) learn(r *reader, c *script) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.server != m.server {
		for _, t := range r.store.tables {
			t.recent.forget()
		}
		m.server = c.server
	}
	for _, relied := range r.relies {
		relied.table.recent.trust.gain()
		if relied.absent {
			relied.table.recent.trustAbsent.gain()
		}
	}
	for i, move := range c.moves {
		if c.memos[i] != nil {
			c.memos[i].writer = c.writer
		}
		r.store.byMachine[move.Entity.Machine].recent.put(move.Entity.Key, c.memos[i])
	}
	for _, p := range r.parked {
		r.store.doubt(p.Entity)
	}
	for _, p := range slices.Concat(c.plan.Park, c.plan.Repark) {
		r.store.doubt(p.Entity)
	}
}

// doubt makes transactions read an entity, until its row is written the next time. The memory
// must be locked.
func (s *snapshot) doubt(e versioning.Entity) {
	if t := s.byMachine[e.Machine]; t != nil && t.isRecallable() {
		t.recent.put(e.Key, &memo{unsure: true})
	}
}

// mistrust forgets what a reader has recalled, which was wrong.
func (m *memory) mistrust(r *reader) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, relied := range r.relies {
		if relied.absent {
			relied.table.recent.trustAbsent.lose(relied.lossesAbsent)
		} else {
			relied.table.recent.trust.lose(relied.losses)
		}
	}
	for e := range r.view.Entities {
		r.store.byMachine[e.Machine].recent.put(e.Key, nil)
	}
}

// memos returns what to remember of the entities of moves once these are committed, except for
// the writer; nil for entities that are to be forgotten.
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
	k := move.Known()
	var before []uint32
	switch had := r.past(k); {
	case had.memo != nil:
		before = had.memo.messages
	case k.Row.Gone, k.Exists && (!had.hasFirst || had.hasMore):
		return nil
	case had.hashes != nil:
		before = slices.Sorted(slices.Values(had.hashes))
	default:
		for id := range k.Messages.All() {
			before = append(before, hashOf(id))
		}
		slices.Sort(before)
	}
	if len(before)+len(move.Steps) > maxRemembered {
		return nil
	}
	more := make([]uint32, len(move.Steps))
	for i := range move.Steps {
		s := &move.Steps[i]
		more[i] = hashOf(s.Record.Changes[s.Change].MessageID)
	}
	known := &memo{messages: merged(before, more)}
	known.state, known.version = move.To()
	return known
}

// merged returns the elements of a sorted slice and of another one, sorted. It sorts the other one.
func merged(sorted, more []uint32) []uint32 {
	slices.Sort(more)
	all := make([]uint32, 0, len(sorted)+len(more))
	for _, one := range more {
		n, _ := slices.BinarySearch(sorted, one)
		all, sorted = append(append(all, sorted[:n]...), one), sorted[n:]
	}
	return append(all, sorted...)
}

// isRecallable reports whether rows of the table may be recalled. Functions compute with columns
// that are not remembered. Timers and outputs depend on the time at which the transaction has
// begun, which must be known before it writes. Without message IDs, it is unknown which messages
// have moved an entity. If two rows have one key, it must be noticed.
func (t *table) isRecallable() bool {
	return !t.arms() && t.Identity == versioning.ByMessage && !t.heirs
}
