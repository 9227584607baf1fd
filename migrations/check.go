package migrations

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Querier is what [Check] needs: a pgx pool, connection or transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check is [Schema.Check] for the [DefaultSchema].
func Check(ctx context.Context, db Querier) error { return Schema("").Check(ctx, db) }

// Check returns nil if this build works with the schema, even if the schema is newer than
// [Version]. It returns a [*SchemaError] if the schema is missing or older than [Oldest].
// Any other error says that the schema's name is not valid, that the database can't be
// reached, or that the role lacks a privilege: it needs only USAGE on the schema and
// SELECT on its table goose_db_version.
//
// Check writes nothing, and leaves a transaction usable. It is safe for concurrent use if
// db is.
func (s Schema) Check(ctx context.Context, db Querier) error {
	have, err := s.Installed(ctx, db)
	if err != nil {
		return err
	}
	if have < Oldest {
		return &SchemaError{Schema: s, Have: have, Want: Oldest}
	}
	return nil
}

// Installed returns the version of the schema in a database; 0 means that there is no such
// schema. Its errors and the rights that it needs are those of [Schema.Check].
func (s Schema) Installed(ctx context.Context, db Querier) (version int64, err error) {
	if err := s.Validate(); err != nil {
		return 0, err
	}
	// The table is looked up first, because a query of a table that does not exist is an
	// error, and would abort the caller's transaction. Each query is sent in one message:
	// behind a pooler, the second of two messages could reach another session.
	const exists = `SELECT to_regclass($1) IS NOT NULL`
	latest := s.SQL(`
SELECT coalesce(max(version_id), 0) FROM (
	SELECT DISTINCT ON (version_id) version_id, is_applied
	FROM pawl.goose_db_version ORDER BY version_id, id DESC
) AS v WHERE is_applied`)
	table := s.SQL("pawl.goose_db_version")
	var isThere bool
	err = db.QueryRow(ctx, exists, pgx.QueryExecModeExec, table).Scan(&isThere)
	if err == nil && isThere {
		err = db.QueryRow(ctx, latest, pgx.QueryExecModeExec).Scan(&version)
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of schema %s (this needs USAGE on it and SELECT on %s): %w", s, table, err)
	}
	return version, nil
}
