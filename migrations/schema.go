package migrations

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// DefaultSchema is the schema that the framework uses by default.
const DefaultSchema = "pawl"

// A Schema is the name of the schema with the framework's tables. It is spelled as in
// the catalog: unquoted, with upper and lower case. Empty means [DefaultSchema]. Several
// schemas in one database are independent: tenants whose tables have the same machines
// need one each.
type Schema string

// String returns the schema's name.
func (s Schema) String() string {
	if s == "" {
		return DefaultSchema
	}
	return string(s)
}

// maxNameBytes is the longest name that PostgreSQL does not truncate.
const maxNameBytes = 63

// Validate returns an error if PostgreSQL does not accept the name, or would change it.
func (s Schema) Validate() error {
	name := s.String()
	switch {
	case len(name) > maxNameBytes:
		return fmt.Errorf("schema name %q has %d bytes; PostgreSQL truncates names to %d", name, len(name), maxNameBytes)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("schema name %q contains control characters, or is not UTF-8", name)
	case strings.HasPrefix(name, "pg_") || name == "information_schema":
		return fmt.Errorf("schema name %q is reserved by PostgreSQL; choose another name", name)
	}
	return nil
}

// Quoted returns the name quoted for SQL.
func (s Schema) Quoted() string { return pgx.Identifier{s.String()}.Sanitize() }

// SQL rewrites a statement for this schema. The statement is written for [DefaultSchema],
// with "pawl." before the names of its tables and domains. Nothing else in it may end in
// "pawl.".
func (s Schema) SQL(statement string) string {
	if s.String() == DefaultSchema {
		return statement
	}
	return strings.ReplaceAll(statement, DefaultSchema+".", s.Quoted()+".")
}
