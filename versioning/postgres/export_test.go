package postgres

import (
	"context"

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
