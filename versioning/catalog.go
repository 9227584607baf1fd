package versioning

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
)

// ErrTable is what every [*TableError] is.
var ErrTable = errors.New("table does not fit its machine")

// A TableError is one thing about a table, or about the role's rights on it,
// that keeps the framework from working on it.
type TableError struct {
	Table   string
	Column  string // empty where it is about the table as a whole
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

// inspect reads a table from the catalog and checks it. Its error joins one
// *TableError for each mismatch.
func inspect(ctx context.Context, conn *pgxpool.Conn, config Table) (*table, error) {
	t := &table{Table: config, ident: pgx.Identifier(strings.Split(config.Name, ".")).Sanitize()}
	if t.State == "" {
		t.State = "state"
	}
	if t.Version == "" {
		t.Version = "version"
	}
	relation, err := t.relation(ctx, conn)
	if err != nil {
		return nil, err
	}
	if err := t.readColumns(ctx, conn, relation); err != nil {
		return nil, fmt.Errorf("read the columns of table %s from the catalog: %w", t.Name, err)
	}
	return t, errors.Join(t.checkKey(), t.checkState(), t.checkVersion())
}

func (t *table) problem(column, format string, args ...any) error {
	return &TableError{Table: t.Name, Column: column, Problem: fmt.Sprintf(format, args...)}
}

// relation finds the table, and checks what it is and what the role may do.
func (t *table) relation(ctx context.Context, conn *pgxpool.Conn) (oid uint32, err error) {
	const query = `
SELECT c.oid, c.relkind::text, current_user,
       array_remove(ARRAY[
           CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
           CASE WHEN NOT has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
           CASE WHEN NOT has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END], NULL)
FROM pg_class AS c WHERE c.oid = to_regclass($1)`
	var kind, user string
	var missing []string
	err = conn.QueryRow(ctx, query, t.ident).Scan(&oid, &kind, &user, &missing)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, t.problem("", "does not exist, or is not in the search_path; create it, or name its schema")
	case err != nil:
		return 0, fmt.Errorf("look for table %s in the catalog: %w", t.Name, err)
	case kind != "r" && kind != "p":
		return 0, t.problem("", "is not a table (relkind %q)", kind)
	case len(missing) > 0:
		return 0, t.problem("", "role %s lacks %s; GRANT it", user, strings.Join(missing, ", "))
	}
	return oid, nil
}

const columnsQuery = `
SELECT a.attname::text, format_type(a.atttypid, NULL), a.atttypid,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE a.atttypid END,
       a.attnotnull, a.atthasdef, a.attidentity::text, a.attgenerated <> '',
       coalesce((SELECT array_agg(enumlabel::text) FROM pg_enum WHERE enumtypid = a.atttypid), '{}'),
       coalesce(bool_or(i.indexrelid IS NOT NULL), false), coalesce(bool_or(i.indisprimary), false),
       coalesce(co.collisdeterministic, true),
       CASE WHEN a.atttypid = 'varchar'::regtype AND a.atttypmod > 4 THEN a.atttypmod - 4 ELSE 0 END
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_collation AS co ON co.oid = a.attcollation
LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisunique AND i.indimmediate AND i.indisvalid
    AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum AND i.indpred IS NULL
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY a.attname, a.atttypid, t.typtype, t.typbasetype, a.attnotnull, a.atthasdef, a.attidentity,
         a.attgenerated, a.atttypmod, co.collisdeterministic, a.attnum
ORDER BY a.attnum`

func (t *table) readColumns(ctx context.Context, conn *pgxpool.Conn, relation uint32) error {
	rows, err := conn.Query(ctx, columnsQuery, relation)
	if err != nil {
		return err
	}
	t.columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c tableColumn, err error) {
		return c, row.Scan(&c.name, &c.typeName, &c.oid, &c.base, &c.notNull, &c.hasDefault, &c.identity,
			&c.generated, &c.labels, &c.unique, &c.primary, &c.exactText, &c.maxLength)
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
			return t.problem("", "has no primary key of one column; add one, or set Table.Key to a unique column")
		}
		t.Key = t.columns[i].name
	}
	t.key = t.find(t.Key)
	if t.key == nil {
		return t.problem(t.Key, "does not exist; add it, or set Table.Key to the column of the entity's key")
	}
	var problems []error
	if !slices.Contains(keyTypes, t.key.base) {
		problems = append(problems, t.problem(t.Key, "is a %s; a key is a text, varchar, uuid, bigint, integer or smallint", t.key.typeName))
	}
	if !t.key.unique {
		problems = append(problems, t.problem(t.Key, "is not unique; add a primary key or a unique index on it alone (not partial, not deferrable)"))
	}
	if !t.key.exactText {
		problems = append(problems, t.problem(t.Key, "has a nondeterministic collation, under which different keys are equal; use a deterministic one"))
	}
	if t.key.generated || t.key.identity == "a" {
		problems = append(problems, t.problem(t.Key, "is generated always; the key comes from the message"))
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
			problems = append(problems, t.problem(t.State, "enum %s lacks the states %s; ALTER TYPE ... ADD VALUE",
				t.state.typeName, strings.Join(missing, ", ")))
		}
	case t.state.base != pgtype.TextOID && t.state.base != pgtype.VarcharOID:
		problems = append(problems, t.problem(t.State, "is a %s; a state is a text, varchar or enum", t.state.typeName))
	case t.state.maxLength > 0:
		for _, s := range t.Machine.States() {
			if len(s) > t.state.maxLength {
				problems = append(problems, t.problem(t.State, "state %q is longer than its %d characters", s, t.state.maxLength))
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
		problems = append(problems, t.problem(t.Version, "is a %s; a version is a bigint or an integer", t.version.typeName))
	}
	return errors.Join(problems...)
}

// checkManaged checks what the state and the version column have in common.
func (t *table) checkManaged(c *tableColumn) (problems []error) {
	if !c.notNull {
		problems = append(problems, t.problem(c.name, "may be NULL, and NULL is no %s; make it NOT NULL", c.name))
	}
	if c.generated || c.identity == "a" {
		problems = append(problems, t.problem(c.name, "is generated; the framework writes it"))
	}
	return problems
}
