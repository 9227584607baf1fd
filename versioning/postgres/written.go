package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// verified translates the error of a verifySQL: a trigger has changed what is the
// framework's to write. No attempt will do better before it leaves the column alone.
func (t *table) verified(s *schema, err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.SchemaName != s.String() || pgErr.DataTypeName != "written" {
		return err
	}
	column := map[string]string{"written_key": t.Key, "written_state": t.State, "written_version": t.Version}[pgErr.ConstraintName]
	return t.problem(column, "the row does not hold what was written to it, so a trigger has changed it; "+
		"take the column out of the trigger (the table has: %s)", strings.Join(t.rules.triggers, ", "))
}

// errOwnTables marks an error about one of the framework's own tables, which is no
// record's fault: a row of the application's may have been set back to an earlier
// version, or brought back after it was deleted, while its history stayed.
var errOwnTables = errors.New("the framework's own table does not take what it is to hold; compare the rows' versions with their history")

// written translates the error of a write.
func (s *edition) written(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	own := ok && pgErr.SchemaName == s.schema.String()
	switch {
	case err == nil:
		return nil
	case own && pgErr.DataTypeName == "guarded":
		return errMoved
	case own && slices.Contains(ownTables, pgErr.TableName): // the application's tables may be in the same schema
		return fmt.Errorf("%w: %w", errOwnTables, err)
	}
	return fmt.Errorf("write: %w", err)
}
