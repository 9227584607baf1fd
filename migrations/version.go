package migrations

import (
	"errors"
	"fmt"
	"strings"
)

// Version is the version of the schema that this build of the framework needs.
const Version = 3

// ErrSchema is what every [*SchemaError] is.
var ErrSchema = errors.New("the framework's schema does not fit this build")

// A SchemaError says that the framework's schema in a database is not at [Version].
type SchemaError struct {
	Schema Schema
	Have   int64 // 0: there is no such schema
	Want   int64
}

func (e *SchemaError) Error() string {
	switch {
	case e.Have == 0:
		return fmt.Sprintf("there is no schema %s in this database; make it with: %s", e.Schema, e.Schema.fix())
	case e.Have < e.Want:
		return fmt.Sprintf("schema %s is at version %d, this build needs %d; bring it up with: %s", e.Schema, e.Have, e.Want, e.Schema.fix())
	}
	return fmt.Sprintf("schema %s is at version %d, this build knows only %d: "+
		"run a build that is as new as the schema, or, with the newer build, take the schema down", e.Schema, e.Have, e.Want)
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
	return "go run github.com/pawl-go/pawl/migrations/cmd/pawl-migrate up --database-url \"$DATABASE_URL\"" + flag +
		" (or call " + call + " of package migrations/migrate)"
}
