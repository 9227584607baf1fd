package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// Queued returns how many calls of Do wait for their batch to begin.
func (s *Store) Queued() int {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return len(s.calls.queue)
}

// TruncateSlot truncates a partition of the outbox if it is empty, also the one that is in use.
func TruncateSlot(ctx context.Context, s *Store, slot int) (bool, error) {
	return s.truncateSlot(ctx, slot)
}

// EventID returns the ID of a message for Debezium.
func EventID(m *versioning.Emitted) string {
	return pgtype.UUID{Bytes: eventID(m), Valid: true}.String()
}

// RecentPacks returns how many packs the store has in memory, and their bytes.
func RecentPacks(s *Store) (n, bytes int) {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	return len(s.outbox.recent), s.outbox.size
}

// OfferPack offers a pack to the store's relay, as the transaction that has written it does once
// it knows that it is committed. The relay may have read the pack before.
func OfferPack(s *Store, ref versioning.PackRef, messages []byte) {
	s.outbox.committed([]*outPack{{PackRef: ref, n: 1, messages: messages}})
}

// AgePacks makes the packs in memory older.
func AgePacks(s *Store, by time.Duration) {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	for id, p := range s.outbox.recent {
		p.at = p.at.Add(-by)
		s.outbox.recent[id] = p
	}
	s.outbox.swept = s.outbox.swept.Add(-by)
}

// KeepInMemory sets how many entities a Rehearsal keeps in each generation in memory.
func (h *Rehearsal) KeepInMemory(n int) { h.imagined.most = n }

// ReadPages sets how many pages of the history LookUpOrigins reads at once.
func (h *Rehearsal) ReadPages(n int64) { h.part = n }
