package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A MachineError says that a machine already belongs to another table of the database.
// History, parked records and dead letters identify an entity by its machine and key,
// so two tables with one machine would mix up theirs. So Open returns this error for
// the second one. It is an [ErrTable].
type MachineError struct {
	Machine string
	Table   string // the table to open, with its schema, quoted
	Other   string // the table that the machine belongs to, likewise
	Schema  string // the framework schema, whose table "tables" says so
}

func (e *MachineError) Error() string {
	return fmt.Sprintf("table %s: machine %q already belongs to table %s, according to %s.tables; "+
		"rename the machine of one of them, or give one a separate framework schema "+
		"(pawl migrate up --schema NAME, and postgres.OpenIn); if %[2]q now belongs to this table, "+
		"drop or rename the other table, or DELETE its row from %[4]s.tables",
		e.Table, e.Machine, e.Other, pgx.Identifier{e.Schema}.Sanitize())
}

// Is reports whether target is [ErrTable].
func (e *MachineError) Is(target error) bool { return target == ErrTable }

// register stores which table each machine has, if that is not known yet. A table that
// no longer exists was renamed or replaced, and loses its machine.
func (s *snapshot) register(ctx context.Context, conn *pgxpool.Conn) error {
	var machines, tables []string
	for _, t := range s.tables {
		machines, tables = append(machines, t.Machine.Name()), append(tables, t.ident)
	}
	elsewhere, err := s.elsewhere(ctx, conn, machines, tables)
	if err == nil && len(elsewhere) > 0 {
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, s.schema.sql(registerSQL), machines, tables); err != nil {
				return err
			}
			if elsewhere, err = s.elsewhere(ctx, tx, machines, tables); err != nil {
				return err
			}
			return errors.Join(elsewhere...)
		})
	}
	if err == nil {
		err = s.registerColumns(ctx, conn, machines)
	}
	if err != nil && !errors.Is(err, ErrTable) {
		return fmt.Errorf("register the tables in %s.tables: %w", s.schema, err)
	}
	return err
}

// registerColumns stores the names of the key, state and version columns, for those who have
// the database but not the machines. Before version 8, the schema has no place for them.
func (s *snapshot) registerColumns(ctx context.Context, conn *pgxpool.Conn, machines []string) error {
	var keys, states, versions []string
	for _, t := range s.tables {
		keys, states, versions = append(keys, t.key.name), append(states, t.state.name), append(versions, t.version.name)
	}
	var differ bool
	if err := conn.QueryRow(ctx, s.schema.sql(otherColumnsSQL), oneMessage, machines, keys, states, versions).Scan(&differ); err != nil || !differ {
		return err
	}
	_, err := conn.Exec(ctx, s.schema.sql(registerColumnsSQL), oneMessage, machines, keys, states, versions)
	return err
}

// elsewhere returns an error for each machine that is not registered with its table.
func (s *snapshot) elsewhere(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, machines, tables []string,
) (problems []error, err error) {
	rows, err := db.Query(ctx, s.schema.sql(elsewhereSQL), oneMessage, machines, tables)
	if err != nil {
		return nil, err
	}
	var machine, table, schema, name string
	_, err = pgx.ForEachRow(rows, []any{&machine, &table, &schema, &name}, func() error {
		problems = append(problems, &MachineError{machine, table, pgx.Identifier{schema, name}.Sanitize(), s.schema.String()})
		return nil
	})
	return problems, err
}

// registerSQL registers the tables $2 of the machines $1. It does so in a fixed order,
// so that concurrent statements do not deadlock.
const registerSQL pawlSQL = `
INSERT INTO pawl.tables AS r (machine, schema, name)
SELECT u.machine, n.nspname, c.relname
FROM unnest($1::text[], $2::text[]) AS u(machine, ident)
JOIN pg_class AS c ON c.oid = to_regclass(u.ident) JOIN pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY u.machine
ON CONFLICT (machine) DO UPDATE SET schema = excluded.schema, name = excluded.name, at = now()
WHERE NOT EXISTS (
	SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
	WHERE n.nspname = r.schema AND c.relname = r.name AND c.relkind IN ('r', 'p')
)`

const elsewhereSQL pawlSQL = `
SELECT u.machine, u.ident, coalesce(r.schema, ''), coalesce(r.name, '')
FROM unnest($1::text[], $2::text[]) AS u(machine, ident)
JOIN pg_class AS c ON c.oid = to_regclass(u.ident) JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pawl.tables AS r ON r.machine = u.machine
WHERE (r.schema, r.name) IS DISTINCT FROM (n.nspname::text, c.relname::text)`

// otherColumnsSQL returns whether the columns of a table are to be registered. A row is read as
// JSON, because the schema may not have these columns.
const otherColumnsSQL pawlSQL = `
SELECT EXISTS (
	SELECT FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS u(machine, key, state, version)
	JOIN (SELECT machine, to_jsonb(t) AS columns FROM pawl.tables AS t) AS r ON r.machine = u.machine
	WHERE r.columns ? 'key_column'
	  AND (r.columns ->> 'key_column', r.columns ->> 'state_column', r.columns ->> 'version_column') IS DISTINCT FROM (u.key, u.state, u.version)
)`

// registerColumnsSQL locks the rows in a fixed order, like registerSQL.
const registerColumnsSQL pawlSQL = `
WITH found AS MATERIALIZED (
	SELECT u.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS u(machine, key, state, version)
	JOIN pawl.tables AS r ON r.machine = u.machine ORDER BY u.machine FOR UPDATE OF r
)
UPDATE pawl.tables AS r SET key_column = f.key, state_column = f.state, version_column = f.version
FROM found AS f WHERE r.machine = f.machine`
