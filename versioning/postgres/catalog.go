package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
)

// ErrTable matches every [*TableError], by [errors.Is].
var ErrTable = errors.New("table does not fit its machine")

// A TableError describes one problem with a table, or with the role's privileges on it,
// that keeps the framework from using it.
type TableError struct {
	Table   string
	Column  string // empty if the problem is about the whole table
	Problem string // what is wrong and what to do about it
}

func (e *TableError) Error() string {
	if e.Column == "" {
		return fmt.Sprintf("table %s: %s", e.Table, e.Problem)
	}
	return fmt.Sprintf("table %s, column %s: %s", e.Table, e.Column, e.Problem)
}

// Is reports whether target is [ErrTable].
func (e *TableError) Is(target error) bool { return target == ErrTable }

// inspect reads a table from the catalog and checks it. Its error joins one *TableError
// per problem.
func inspect(ctx context.Context, conn *pgxpool.Conn, in *schema, config Table, readOnly bool) (*table, error) {
	t := &table{Table: config.withDefaults(), ident: pgx.Identifier(strings.Split(config.Name, ".")).Sanitize()}
	t.creates, t.updates = eventsOf(t.Machine)
	t.states = make(map[string]statemachine.State)
	for _, state := range t.Machine.States() {
		t.states[string(state)] = state
	}
	if err := t.relation(ctx, conn, !readOnly); err != nil {
		return nil, err
	}
	if err := t.takeFingerprint(ctx, conn, in); err != nil {
		return nil, fmt.Errorf("read table %s from the catalog: %w", t.Name, err)
	}
	if err := t.readColumns(ctx, conn); err != nil {
		return nil, fmt.Errorf("read the columns of table %s from the catalog: %w", t.Name, err)
	}
	if err := errors.Join(t.checkKey(), t.checkState(), t.checkVersion(), t.checkDistinct()); err != nil {
		return nil, err
	}
	if err := t.readRules(ctx, conn); err != nil {
		if errors.Is(err, ErrTable) {
			return nil, err
		}
		return nil, fmt.Errorf("read the constraints and triggers of table %s from the catalog: %w", t.Name, err)
	}
	return t, nil
}

// checkDistinct checks that key, state and version are three different columns.
func (t *table) checkDistinct() error {
	switch {
	case t.key != nil && t.key == t.state:
		return t.problem(t.Key, "is both the key and the state; set Table.Key or Table.State to another column")
	case t.key != nil && t.key == t.version:
		return t.problem(t.Key, "is both the key and the version; set Table.Key or Table.Version to another column")
	}
	return nil // no type is valid for both the state and the version
}

func (t *table) problem(column, format string, args ...any) error {
	return &TableError{Table: t.Name, Column: column, Problem: fmt.Sprintf(format, args...)}
}

// relation finds the table, and checks its kind and the role's privileges.
func (t *table) relation(ctx context.Context, conn *pgxpool.Conn, writes bool) error {
	const query = `
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relhassubclass AND c.relkind = 'r', c.relpersistence::text, current_user,
       array_remove(ARRAY[
           CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
           CASE WHEN NOT has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
           CASE WHEN NOT has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END], NULL)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`
	var schema, name, kind, persistence, user string
	var missing []string
	err := conn.QueryRow(ctx, query, oneMessage, t.ident).Scan(&t.oid, &schema, &name, &kind, &t.heirs, &persistence, &user, &missing)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return t.missing(ctx, conn)
	case isCode(err, insufficientPrivilege):
		return t.problem("", "the role lacks USAGE on its schema; GRANT it")
	case err != nil:
		return fmt.Errorf("look for table %s in the catalog: %w", t.Name, err)
	case kind != "r" && kind != "p":
		return t.problem("", "is not a table (relkind %q)", kind)
	case persistence == "t":
		return t.problem("", "is a temporary table, which other connections can't see; create a permanent one, or name its schema")
	case persistence == "u" && !t.Unlogged:
		return t.problem("", "is unlogged, so a crash empties it; run ALTER TABLE ... SET LOGGED, or set Table.Unlogged")
	case len(missing) > 0 && (writes || missing[0] == "SELECT"):
		return t.problem("", "role %s lacks %s; GRANT it", user, strings.Join(missing, ", "))
	}
	t.ident = pgx.Identifier{schema, name}.Sanitize() // independent of a connection's search_path
	return nil
}

// missing returns where the table was looked for, and where there is one with its name.
func (t *table) missing(ctx context.Context, conn *pgxpool.Conn) error {
	const query = `
SELECT array_to_string(current_schemas(false), ', '), array(
	SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.relname = $1 AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' ORDER BY n.nspname)`
	parts := strings.Split(t.Name, ".")
	var searchPath string
	var others []string
	if err := conn.QueryRow(ctx, query, oneMessage, parts[len(parts)-1]).Scan(&searchPath, &others); err != nil {
		return fmt.Errorf("look for table %s in the catalog: %w", t.Name, err)
	}
	where := ""
	if len(parts) == 1 {
		where = " in the search_path (" + searchPath + ")"
	}
	if len(others) > 0 {
		return t.problem("", "does not exist%s, but %s does; set Table.Name to that name", where, strings.Join(others, ", "))
	}
	return t.problem("", "does not exist%s; create it, or correct Table.Name", where)
}

// columnsQuery describes the columns of table $1. If a column's type is a domain, the
// rows of base descend to the underlying type and collect what the domains add. The
// columns are sorted by name, because the columns of a change are too, and a digest
// depends on their order.
const columnsQuery = `
WITH RECURSIVE base AS (
	SELECT a.attnum, a.atttypid AS oid, a.atttypmod AS typmod, a.attnotnull AS not_null, a.atthasdef AS has_default
	FROM pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT b.attnum, d.typbasetype, d.typtypmod, b.not_null OR d.typnotnull, b.has_default OR d.typdefault IS NOT NULL
	FROM base AS b JOIN pg_type AS d ON d.oid = b.oid AND d.typtype = 'd'
), keys AS ( -- the columns of single-column unique indexes that ON CONFLICT can use
	SELECT i.indkey[0] AS attnum, i.indisprimary, coalesce(co.collisdeterministic, true) AS exact
	FROM pg_index AS i LEFT JOIN pg_collation AS co ON co.oid = i.indcollation[0]
	WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL
)
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), n.nspname::text, t.typname::text, b.oid, t.typcategory = 'A',
       b.not_null, b.has_default, a.attidentity::text, a.attgenerated <> '',
       coalesce((SELECT array_agg(enumlabel::text) FROM pg_enum WHERE enumtypid = b.oid), '{}'),
       EXISTS (SELECT FROM keys WHERE keys.attnum = a.attnum),
       EXISTS (SELECT FROM keys WHERE keys.attnum = a.attnum AND keys.indisprimary),
       coalesce(quote_ident(cn.nspname) || '.' || quote_ident(co.collname), ''), coalesce(co.collisdeterministic, true)
           AND NOT EXISTS (SELECT FROM keys WHERE keys.attnum = a.attnum AND NOT keys.exact),
       CASE WHEN b.oid = 'varchar'::regtype AND b.typmod > 4 THEN b.typmod - 4 ELSE 0 END, b.typmod, b.oid <> a.atttypid
FROM pg_attribute AS a
JOIN base AS b ON b.attnum = a.attnum
JOIN pg_type AS t ON t.oid = b.oid AND t.typtype <> 'd'
JOIN pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_collation AS co ON co.oid = a.attcollation
LEFT JOIN pg_namespace AS cn ON cn.oid = co.collnamespace
WHERE a.attrelid = $1
ORDER BY a.attname COLLATE "C"`

func (t *table) readColumns(ctx context.Context, conn *pgxpool.Conn) error {
	rows, err := conn.Query(ctx, columnsQuery, oneMessage, t.oid)
	if err != nil {
		return err
	}
	t.columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c tableColumn, err error) {
		var schema, base string
		err = row.Scan(&c.name, &c.typeName, &schema, &base, &c.base, &c.array, &c.notNull, &c.hasDefault, &c.identity,
			&c.generated, &c.labels, &c.unique, &c.primary, &c.collation, &c.exactText, &c.maxLength, &c.modifier, &c.domain)
		c.cast = pgx.Identifier{schema, base}.Sanitize()
		return c, err
	})
	t.byName = make(map[string]int, len(t.columns))
	for i := range t.columns {
		t.byName[t.columns[i].name] = i
	}
	return err
}

func (t *table) find(name string) *tableColumn {
	if i, ok := t.byName[name]; ok {
		return &t.columns[i]
	}
	return nil
}

var keyTypes = []uint32{pgtype.TextOID, pgtype.VarcharOID, pgtype.UUIDOID, pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID}

func (t *table) checkKey() error {
	if t.Key == "" {
		i := slices.IndexFunc(t.columns, func(c tableColumn) bool { return c.primary })
		if i < 0 {
			return t.problem("", "has no primary key of one column, and an entity's key is one column; set Table.Key to a column that is unique by itself, or add one")
		}
		t.Key = t.columns[i].name
	}
	t.key = t.find(t.Key)
	if t.key == nil {
		return t.problem(t.Key, "does not exist; add it, or set Table.Key to the column of the entity's key")
	}
	var problems []error
	if !slices.Contains(keyTypes, t.key.base) {
		problems = append(problems, t.problem(t.Key, "has type %s, but a key is a text, varchar, uuid, bigint, integer or smallint; change the type", t.key.typeName))
	}
	if !t.key.unique {
		problems = append(problems, t.problem(t.Key, "is not unique; add a primary key or a unique index on this column only (not partial, not deferrable)"))
	}
	if !t.key.exactText {
		problems = append(problems, t.problem(t.Key, "has a nondeterministic collation, or a unique index with one, so different keys may be equal; use a deterministic collation"))
	}
	if t.key.generated || t.key.identity == "a" {
		problems = append(problems, t.problem(t.Key, "is generated always, but the key comes from the message; make it an ordinary column"))
	}
	return errors.Join(problems...)
}

func (t *table) checkState() error {
	t.state = t.find(t.State)
	if t.state == nil {
		return t.problem(t.State, "does not exist; add it as text NOT NULL, or set Table.State")
	}
	problems := t.checkManaged(t.state)
	switch {
	case len(t.state.labels) > 0:
		if missing := t.missingLabels(); len(missing) > 0 {
			problems = append(problems, t.problem(t.State, "enum %s lacks the states %s; add them with ALTER TYPE ... ADD VALUE",
				t.state.typeName, strings.Join(missing, ", ")))
		}
	case t.state.base != pgtype.TextOID && t.state.base != pgtype.VarcharOID:
		problems = append(problems, t.problem(t.State, "has type %s, but a state is a text, varchar or enum; change the type", t.state.typeName))
	case t.state.maxLength > 0:
		for _, s := range t.Machine.States() {
			if utf8.RuneCountInString(string(s)) > t.state.maxLength {
				problems = append(problems, t.problem(t.State, "state %q is longer than %d characters; make the column longer", s, t.state.maxLength))
			}
		}
	}
	return errors.Join(problems...)
}

func (t *table) missingLabels() (missing []string) {
	for _, s := range t.Machine.States() {
		if s != statemachine.None && !slices.Contains(t.state.labels, string(s)) {
			missing = append(missing, string(s))
		}
	}
	return missing
}

func (t *table) checkVersion() error {
	t.version = t.find(t.Version)
	if t.version == nil {
		return t.problem(t.Version, "does not exist; add it as bigint NOT NULL, or set Table.Version")
	}
	problems := t.checkManaged(t.version)
	if t.version.base != pgtype.Int8OID && t.version.base != pgtype.Int4OID {
		problems = append(problems, t.problem(t.Version, "has type %s, but a version is a bigint or an integer; change the type", t.version.typeName))
	}
	return errors.Join(problems...)
}

// checkManaged checks what the state and version columns have in common.
func (t *table) checkManaged(c *tableColumn) (problems []error) {
	if !c.notNull {
		problems = append(problems, t.problem(c.name, "may be NULL; make it NOT NULL"))
	}
	if c.generated || c.identity == "a" {
		problems = append(problems, t.problem(c.name, "is generated, but the framework must write it; make it an ordinary column"))
	}
	return problems
}
