package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/migrations"
)

// A pawlSQL is a statement about the framework's tables, written for the schema pawl.
// It is a separate type so that no statement is sent before [schema.sql] has inserted
// the store's schema.
type pawlSQL string

// A schema is the schema with the framework's tables. It is safe for concurrent use.
type schema struct {
	migrations.Schema

	quoted    string
	serverSQL string   // an expression for the Server
	written   sync.Map // pawlSQL to string: the statements for a schema other than pawl
}

func newSchema(name string) *schema {
	s := &schema{Schema: migrations.Schema(name)}
	s.quoted = s.Quoted()
	s.serverSQL = fmt.Sprintf(serverFormat, strings.ReplaceAll(s.quoted, "'", "''"))
	return s
}

// sql returns a statement for the store's schema. It caches the result.
func (s *schema) sql(statement pawlSQL) string {
	if s.String() == migrations.DefaultSchema {
		return string(statement)
	}
	if known, ok := s.written.Load(statement); ok {
		return known.(string) //nolint:forcetypeassert // nothing else is stored
	}
	sql := s.SQL(string(statement))
	s.written.Store(statement, sql)
	return sql
}

// check checks the version of the schema, and the role's privileges on it.
func (s *schema) check(ctx context.Context, conn *pgxpool.Conn) error {
	if err := s.Check(ctx, conn); err != nil {
		return err
	}
	const query = `
SELECT t.name, t.rights, current_user FROM (VALUES
	('transitions', 'SELECT'), ('transitions', 'INSERT'),
	('parked', 'SELECT'), ('parked', 'INSERT'), ('parked', 'UPDATE'), ('parked', 'DELETE'),
	('dead_letters', 'SELECT'), ('dead_letters', 'INSERT'),
	('dead_letters', 'UPDATE'), ('dead_letters', 'DELETE'),
	('marks', 'SELECT'), ('marks', 'INSERT'), ('marks', 'UPDATE'),
	('caught_up', 'SELECT'), ('caught_up', 'INSERT'), ('caught_up', 'UPDATE'),
	('tables', 'SELECT'), ('tables', 'INSERT'), ('tables', 'UPDATE'),
	('timers', 'SELECT'), ('timers', 'INSERT'), ('timers', 'UPDATE'), ('timers', 'DELETE'),
	('rearmed', 'SELECT'), ('rearmed', 'INSERT'), ('rearmed', 'UPDATE'), ('rearmed', 'DELETE')
) AS t(name, rights) WHERE NOT has_table_privilege(format('%I.%I', $1::text, t.name), t.rights)`
	rows, err := conn.Query(ctx, query, oneMessage, s.String())
	if err != nil {
		return fmt.Errorf("read the privileges on schema %s: %w", s, err)
	}
	var name, right, user string
	var problems []error
	_, err = pgx.ForEachRow(rows, []any{&name, &right, &user}, func() error {
		problems = append(problems, &TableError{Table: s.String() + "." + name, Problem: fmt.Sprintf("role %s lacks %s; GRANT it", user, right)})
		return nil
	})
	return errors.Join(append(problems, err)...)
}
