package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DeleteTokens deletes the packs of a lane that have one of the tokens, and returns how many
// there were. The deletion is durable.
func (s *Store) DeleteTokens(ctx context.Context, lane int, tokens []int64) (deleted int, err error) {
	defer s.outbox.deletedTokens(lane, tokens)
	batch := &pgx.Batch{}
	batch.Queue(s.schema.sql(deleteTokensSQL), int16(lane), bigints(tokens)).Exec(func(tag pgconn.CommandTag) error {
		deleted = int(tag.RowsAffected())
		return nil
	})
	if err := s.deleteFromOutbox(ctx, batch); err != nil {
		return 0, err
	}
	return deleted, nil
}

const deleteTokensSQL pawlSQL = `DELETE FROM pawl.outbox WHERE lane = $1::smallint AND token = ANY ($2::bigint[])` //nolint:gosec // a token of a pack is no credential
