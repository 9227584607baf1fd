package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// restToken returns the token of what RefuseMessages leaves of a pack.
func restToken(token int64) int64 { return token + 1 }

func restTokens(tokens []int64) bigints {
	rest := make(bigints, len(tokens))
	for i, token := range tokens {
		rest[i] = restToken(token)
	}
	return rest
}

// DeleteTokens deletes the packs of a lane that have one of the tokens, and what RefuseMessages
// has left of such packs. It returns how many there were. The deletion is durable.
func (s *Store) DeleteTokens(ctx context.Context, lane int, tokens []int64) (deleted int, err error) {
	defer s.outbox.deletedTokens(lane, tokens)
	batch := &pgx.Batch{}
	for _, some := range []bigints{tokens, restTokens(tokens)} { // the second statement sees what the first one has waited for
		batch.Queue(s.schema.sql(deleteTokensSQL), int16(lane), some).Exec(func(tag pgconn.CommandTag) error {
			deleted += int(tag.RowsAffected())
			return nil
		})
	}
	if err := s.deleteFromOutbox(ctx, batch); err != nil {
		return 0, err
	}
	return deleted, nil
}

const deleteTokensSQL pawlSQL = `DELETE FROM pawl.outbox WHERE lane = $1::smallint AND token = ANY ($2::bigint[])` //nolint:gosec // a token of a pack is no credential
