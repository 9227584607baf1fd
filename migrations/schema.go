package migrations

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// DefaultSchema is the schema that the framework uses unless it is told another
// one.
const DefaultSchema = "pawl"

// A Schema names the schema of a database that holds the framework's tables, as it
// stands in the catalog: upper and lower case count, and it is not quoted. Empty
// means [DefaultSchema]. Several in one database are independent of each other:
// tenants whose tables have the same machines need one each.
type Schema string

// String returns the schema's name.
func (s Schema) String() string {
	if s == "" {
		return DefaultSchema
	}
	return string(s)
}

// maxNameBytes is what PostgreSQL keeps of a name; it cuts off the rest.
const maxNameBytes = 63

// Validate returns an error that says what is wrong with the name: PostgreSQL would
// not take it, or would take it for another one.
func (s Schema) Validate() error {
	name := s.String()
	switch {
	case len(name) > maxNameBytes:
		return fmt.Errorf("schema name %q has %d bytes; PostgreSQL keeps %d", name, len(name), maxNameBytes)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("schema name %q holds control characters, or is not UTF-8", name)
	case strings.HasPrefix(name, "pg_") || name == "information_schema":
		return fmt.Errorf("schema name %q is PostgreSQL's own; choose another one", name)
	}
	return nil
}

// Quoted returns the name as SQL has it.
func (s Schema) Quoted() string { return pgx.Identifier{s.String()}.Sanitize() }

// SQL returns a statement that is written for [DefaultSchema], with "pawl." before
// the names of its tables and domains, for this schema. There must be nothing else
// in it that ends in "pawl.".
func (s Schema) SQL(statement string) string {
	if s.String() == DefaultSchema {
		return statement
	}
	return strings.ReplaceAll(statement, DefaultSchema+".", s.Quoted()+".")
}
