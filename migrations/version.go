package migrations

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// Oldest is the oldest version of the schema that this build of the framework works
	// with. It works with all newer versions too, also with those above [Version].
	Oldest = 7

	// Version is the newest version of the schema that this build ships, and the one
	// that package migrate upgrades a schema to. It is never less than [Oldest].
	Version = 9
)

// ErrSchema matches every [*SchemaError], by [errors.Is].
var ErrSchema = errors.New("the framework's schema does not fit this build")

// A SchemaError says that a database does not have the framework's schema, or has a
// version of it that is older than [Oldest]. Its text includes the command that
// creates or upgrades the schema. A schema that is newer than this build is not an error.
type SchemaError struct {
	Schema Schema
	Have   int64 // the version in the database; 0 means that there is no such schema
	Want   int64 // the oldest version that the build works with
}

func (e *SchemaError) Error() string {
	if e.Have == 0 {
		return fmt.Sprintf("there is no schema %s in this database; create it with: %s", e.Schema, e.Schema.fix())
	}
	return fmt.Sprintf("schema %s is at version %d, this build needs version %d or newer; upgrade it with: %s",
		e.Schema, e.Have, e.Want, e.Schema.fix())
}

// Is reports whether target is [ErrSchema].
func (e *SchemaError) Is(target error) bool { return target == ErrSchema }

// fix returns what to run to create or upgrade the schema.
func (s Schema) fix() string {
	flag, call := "", "migrate.Up"
	if s.String() != DefaultSchema {
		flag = " --schema '" + strings.ReplaceAll(s.String(), "'", `'\''`) + "'"
		call = "migrate.UpIn"
	}
	return "go run github.com/pawl-go/pawl/cmd/pawl migrate up --database-url \"$DATABASE_URL\"" + flag +
		" (or call " + call + " of package migrations/migrate)"
}
