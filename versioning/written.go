package versioning

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrWritten is what every [*WrittenError] is.
var ErrWritten = errors.New("a row is not what was written")

// A WrittenError says that a row's key, state or version is not what was written to it:
// a trigger has changed it. The transaction is rolled back, and no attempt will do
// better before the trigger leaves the column alone.
type WrittenError struct {
	Table    string
	Column   string   // the one that the trigger changed
	Triggers []string // all of the table's
	Err      error    // what PostgreSQL said
}

func (e *WrittenError) Error() string {
	return fmt.Sprintf("table %s: a trigger changed column %s, which is the framework's to write; "+
		"take the column out of the trigger (the table has: %s): %v", e.Table, e.Column, strings.Join(e.Triggers, ", "), e.Err)
}

// Is reports whether target is [ErrWritten].
func (e *WrittenError) Is(target error) bool { return target == ErrWritten }

// Unwrap returns what PostgreSQL said.
func (e *WrittenError) Unwrap() error { return e.Err }

// verified translates the error of a verifySQL.
func (t *table) verified(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.DataTypeName != "written" {
		return err
	}
	column := map[string]string{"written_key": t.Key, "written_state": t.State, "written_version": t.Version}[pgErr.ConstraintName]
	return &WrittenError{Table: t.Name, Column: column, Triggers: t.rules.triggers, Err: err}
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
	case !ok || errors.Is(err, ErrWritten):
	case pgErr.SchemaName == "pawl" && pgErr.ConstraintName == "guarded_rows":
		return errMoved
	case pgErr.SchemaName == "pawl":
		return fmt.Errorf("%w: %w", errOwnTables, err)
	}
	return fmt.Errorf("write: %w", err)
}
