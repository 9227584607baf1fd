package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	sharedSQL string   // an expression that shares the lock of [Exclude]
	written   sync.Map // pawlSQL to string: the statements for a schema other than pawl
}

func newSchema(name string) *schema {
	s := &schema{Schema: migrations.Schema(name)}
	s.quoted = s.Quoted()
	s.serverSQL = fmt.Sprintf(serverFormat, strings.ReplaceAll(s.quoted, "'", "''"))
	s.sharedSQL = s.turnSQL()
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
func (s *schema) check(ctx context.Context, conn *pgxpool.Conn, tables []Table) error {
	if err := s.Check(ctx, conn); err != nil {
		return err
	}
	err := s.checkRights(ctx, conn, rightsSQL)
	if slices.ContainsFunc(tables, isRelayed) {
		err = errors.Join(err, s.checkRights(ctx, conn, outboxRightsSQL))
	}
	if slices.ContainsFunc(tables, func(t Table) bool { return emits(t.Machine) && t.Outbox == Debezium }) {
		err = errors.Join(err, s.checkRights(ctx, conn, eventRightsSQL))
	}
	return err
}

// Each of these returns the privileges that the role lacks.
const (
	rightsSQL = `
SELECT t.name, t.rights, current_user FROM (VALUES
	('transitions', 'SELECT'), ('transitions', 'INSERT'),
	('parked', 'SELECT'), ('parked', 'INSERT'), ('parked', 'UPDATE'), ('parked', 'DELETE'),
	('dead_letters', 'SELECT'), ('dead_letters', 'INSERT'),
	('dead_letters', 'UPDATE'), ('dead_letters', 'DELETE'),
	('marks', 'SELECT'), ('marks', 'INSERT'), ('marks', 'UPDATE'),
	('caught_up', 'SELECT'), ('caught_up', 'INSERT'), ('caught_up', 'UPDATE'),
	('tables', 'SELECT'), ('tables', 'INSERT'), ('tables', 'UPDATE'),
	('machines', 'SELECT'), ('machines', 'INSERT'), ('machines', 'UPDATE'),
	('timers', 'SELECT'), ('timers', 'INSERT'), ('timers', 'UPDATE'), ('timers', 'DELETE'),
	('rearmed', 'SELECT'), ('rearmed', 'INSERT'), ('rearmed', 'UPDATE'), ('rearmed', 'DELETE')
) AS t(name, rights) WHERE NOT has_table_privilege(format('%I.%I', $1::text, t.name), t.rights)`

	// The sequence numbers the rows.
	outboxRightsSQL = `
SELECT t.name, t.rights, current_user FROM (VALUES
	('outbox', 'SELECT'), ('outbox', 'INSERT')
) AS t(name, rights) WHERE NOT has_table_privilege(format('%I.%I', $1::text, t.name), t.rights)
UNION ALL
SELECT 'outbox_id_seq', 'USAGE', current_user WHERE NOT has_sequence_privilege(format('%I.%I', $1::text, 'outbox_id_seq'), 'USAGE')`

	eventRightsSQL = `
SELECT t.name, t.rights, current_user FROM (VALUES
	('outbox_events', 'SELECT'), ('outbox_events', 'INSERT'), ('outbox_events', 'DELETE')
) AS t(name, rights) WHERE NOT has_table_privilege(format('%I.%I', $1::text, t.name), t.rights)`

	// A relay also truncates partitions.
	relayRightsSQL = `
SELECT t.name, t.rights, current_user FROM (
	VALUES ('outbox', 'SELECT'), ('outbox', 'INSERT'), ('outbox', 'DELETE'),
		('unsent', 'SELECT'), ('unsent', 'INSERT'), ('unsent', 'UPDATE')
	UNION ALL
	SELECT 'outbox_' || slot, r.rights FROM generate_series(0, 7) AS slot CROSS JOIN (VALUES ('SELECT'), ('TRUNCATE')) AS r(rights)
) AS t(name, rights) WHERE NOT has_table_privilege(format('%I.%I', $1::text, t.name), t.rights)`
)

// checkRights returns an error for each privilege that the role lacks according to a query.
func (s *schema) checkRights(ctx context.Context, conn interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, query string,
) error {
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
