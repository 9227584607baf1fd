package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// An Operator is for people who operate workers and do not have the code of their machines: it
// knows machines and tables from what stores have registered in the database. It reads what the
// framework has stored, and drops dead letters and parked records. Unlike a [Store] it registers
// nothing, and can't decode a record. Package cli uses it. It is safe for concurrent use.
type Operator struct {
	pool   *pgxpool.Pool
	schema *schema
}

// OpenOperator opens an operator. Empty schema means pawl, as for [OpenIn]. The pool belongs to the
// caller. To read, the role needs USAGE on the schema and SELECT on its tables and on the entity
// tables; docs/operations.md has the list.
func OpenOperator(ctx context.Context, pool *pgxpool.Pool, schema string) (*Operator, error) {
	if pool == nil {
		return nil, errors.New("open operator: the pool is nil")
	}
	o := &Operator{pool: pool, schema: newSchema(schema)}
	err := o.schema.Validate()
	if err == nil {
		err = connected(ctx, pool, func(conn *pgxpool.Conn) error { return o.schema.Check(ctx, conn) })
	}
	if err != nil {
		return nil, withCause(fmt.Errorf("open operator: %w", err))
	}
	return o, nil
}

// A RegisteredMachine is what is registered about a machine.
type RegisteredMachine struct {
	Name        string
	Definitions []Definition // by version

	// Table is the entity table, quoted, with its schema. It is empty if no store has opened one.
	Table string
}

// Machines returns the registered machines, by name.
func (o *Operator) Machines(ctx context.Context) ([]RegisteredMachine, error) {
	tables, err := o.tables(ctx)
	if err != nil {
		return nil, withCause(err)
	}
	names := make([]string, len(tables))
	for i := range tables {
		names[i] = tables[i].machine
	}
	definitions, err := o.schema.readDefinitions(ctx, o.pool, names)
	if err != nil {
		return nil, withCause(err)
	}
	machines := make([]RegisteredMachine, len(tables))
	for i, t := range tables {
		machines[i] = RegisteredMachine{Name: t.machine, Definitions: definitions[t.machine], Table: t.ident}
	}
	return machines, nil
}

// Definitions returns the registered definitions of a machine, by version.
func (o *Operator) Definitions(ctx context.Context, machine string) ([]Definition, error) {
	all, err := o.schema.readDefinitions(ctx, o.pool, []string{machine})
	if err != nil {
		return nil, withCause(err)
	}
	return all[machine], nil
}

// An entityTable is an entity table as it is registered.
type entityTable struct {
	machine             string
	ident               string  // quoted; empty if there is no table
	key, state, version *string // columns; nil if they are not registered
}

// tables returns the machines and their tables.
func (o *Operator) tables(ctx context.Context) ([]entityTable, error) {
	rows, err := o.pool.Query(ctx, o.schema.sql(entityTablesSQL), oneMessage)
	var all []entityTable
	if err == nil {
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t entityTable, err error) {
			var schema, name *string
			err = row.Scan(&t.machine, &schema, &name, &t.key, &t.state, &t.version)
			if schema != nil && name != nil {
				t.ident = pgx.Identifier{*schema, *name}.Sanitize()
			}
			return t, err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read %s.tables and %[1]s.machines: %w", o.schema, err)
	}
	return all, nil
}

// entityTablesSQL reads the row as JSON, because a schema before version 8 has no names of columns.
const entityTablesSQL pawlSQL = `
SELECT m.name, r.row ->> 'schema', r.row ->> 'name', r.row ->> 'key_column', r.row ->> 'state_column', r.row ->> 'version_column'
FROM (SELECT name FROM pawl.machines UNION SELECT machine FROM pawl.tables) AS m(name)
LEFT JOIN (SELECT machine, to_jsonb(t) AS row FROM pawl.tables AS t) AS r ON r.machine = m.name
ORDER BY 1`

// An entityLayout is what the catalog says about an entity table.
type entityLayout struct {
	entityTable

	keyType string // for a cast
	indexed bool   // an index begins with the state
	rows    float64
	pages   int64
}

// errNoEntityTable says that a machine has no table that can be read.
var errNoEntityTable = errors.New("no entity table is registered")

// layout looks up a table in the catalog. If no worker has registered the columns yet, they have
// the names that [Table] gives them.
func (o *Operator) layout(ctx context.Context, t entityTable) (*entityLayout, error) {
	l := &entityLayout{entityTable: t}
	if t.ident == "" {
		return nil, errNoEntityTable
	}
	var may, exists bool
	var user string
	var primary, keyType *string
	err := o.pool.QueryRow(ctx, layoutSQL, oneMessage, t.ident, t.key, orDefault(t.state, "state")).
		Scan(&exists, &may, &user, &primary, &keyType, &l.indexed, &l.rows, &l.pages)
	switch {
	case isCode(err, insufficientPrivilege):
		return nil, &TableError{Table: t.ident, Problem: "the role lacks USAGE on its schema; GRANT it"}
	case err != nil:
		return nil, fmt.Errorf("look for table %s in the catalog: %w", t.ident, err)
	case !exists:
		return nil, &TableError{Table: t.ident, Problem: "does not exist any more"}
	case !may:
		return nil, &TableError{Table: t.ident, Problem: fmt.Sprintf("role %s lacks SELECT; GRANT it", user)}
	case primary == nil || keyType == nil:
		return nil, &TableError{Table: t.ident, Problem: "the column of the key is not registered; start a worker of this version"}
	}
	l.key, l.keyType = primary, *keyType
	l.state, l.version = orDefault(t.state, "state"), orDefault(t.version, "version")
	return l, nil
}

func orDefault(name *string, value string) *string {
	if name == nil {
		return &value
	}
	return name
}

func quote(name *string) string { return pgx.Identifier{*name}.Sanitize() }

// layoutSQL describes table $1, with the key $2 (NULL: the primary key, if that is one column) and
// the state $3. It estimates the rows as the planner does. An index that has not been built, or has
// only some of the rows, does not count.
const layoutSQL = `
WITH RECURSIVE relation AS (
	SELECT to_regclass($1)::oid AS oid
), tree AS (
	SELECT oid FROM relation
	UNION ALL
	SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid
), size AS (
	SELECT c.reltuples, c.relpages, pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint AS pages
	FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid WHERE c.relkind = 'r'
), k AS (
	SELECT coalesce($2, (
		SELECT a.attname::text FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		WHERE i.indrelid = relation.oid AND i.indisprimary AND i.indnkeyatts = 1
	)) AS key FROM relation
)
SELECT relation.oid IS NOT NULL, coalesce(pg_catalog.has_table_privilege(relation.oid, 'SELECT'), false), current_user::text,
       k.key, (SELECT pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = relation.oid AND a.attname = k.key AND NOT a.attisdropped),
       EXISTS (
	SELECT FROM pg_catalog.pg_index AS i
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
	WHERE i.indrelid = relation.oid AND a.attname = $3 AND i.indpred IS NULL AND i.indisvalid
       ),
       coalesce((SELECT sum(CASE WHEN relpages > 0 AND reltuples >= 0 THEN reltuples / relpages * pages ELSE 0 END) FROM size), 0)::double precision,
       coalesce((SELECT sum(pages) FROM size), 0)::bigint
FROM relation CROSS JOIN k`
