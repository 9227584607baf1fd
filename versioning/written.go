package versioning

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// verified translates the error of a verifySQL: a trigger has changed what is the
// framework's to write. No attempt will do better before it leaves the column alone.
func (t *table) verified(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.DataTypeName != "written" {
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
func written(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return nil
	case ok && pgErr.SchemaName == "pawl" && pgErr.ConstraintName == "guarded_rows":
		return errMoved
	case ok && pgErr.SchemaName == "pawl":
		return fmt.Errorf("%w: %w", errOwnTables, err)
	}
	return fmt.Errorf("write: %w", err)
}
