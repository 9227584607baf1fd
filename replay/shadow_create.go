package replay

import (
	"context"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// This file creates the schema of a shadow.

// create makes the schema. If there is one that another replay has left, it drops that.
func (h *shadow) create(ctx context.Context, live interface {
	Layout(machine string) (postgres.Layout, bool)
},
) error {
	if err := h.takeName(ctx); err != nil {
		return err
	}
	if err := migrate.UpIn(ctx, h.pool.Config().ConnString(), migrations.Schema(h.cfg.Shadow)); err != nil {
		return fmt.Errorf("%w: create the framework's tables in it: %w", ErrShadow, err)
	}
	statements := []string{
		"CREATE UNLOGGED TABLE " + h.name + `.ranges (topic_id uuid, partition integer, first bigint, last bigint)`,
		"CREATE UNLOGGED TABLE " + h.name + ".given (machine text, entity text, version bigint, timer boolean, topic_id uuid, partition integer, \"offset\" bigint, PRIMARY KEY (machine, entity, version))",
		"CREATE INDEX ON " + h.name + ".given (topic_id, partition, \"offset\")",
		"CREATE UNLOGGED TABLE " + h.name + ".shared (topic_id uuid, partition integer, \"offset\" bigint, machine text, entity text, version bigint)",
		"CREATE UNLOGGED TABLE " + h.name + ".cut (machine text, entity text, version bigint, PRIMARY KEY (machine, entity))",
		"CREATE UNLOGGED TABLE " + h.name + ".found (machine text, entity text, path bigint, columns text[], missing boolean, extra boolean, state boolean, version boolean, PRIMARY KEY (machine, entity))",
	}
	for _, name := range []string{"transitions", "parked", "dead_letters", "timers", "rearmed"} {
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s.%s SET UNLOGGED", h.name, name))
	}
	for i, t := range h.cfg.Tables {
		of, _ := live.Layout(t.Machine.Name())
		statements = append(statements, fmt.Sprintf("CREATE UNLOGGED TABLE %s.%s (LIKE %s INCLUDING ALL)", h.name, copyName(i), of.Table))
	}
	for _, sql := range statements {
		if _, err := h.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrShadow, sql, err)
		}
	}
	for i := range h.cfg.Tables {
		if err := h.ownSequences(ctx, copyName(i)); err != nil {
			return err
		}
	}
	// This COMMIT writes to the WAL, so it waits for what all statements so far have written. After
	// a crash, the tables are there, and empty.
	last := fmt.Sprintf("SET LOCAL synchronous_commit = on; COMMENT ON TABLE %s.replay IS '%s'", h.name, mark)
	if _, err := h.pool.Exec(ctx, last); err != nil {
		return fmt.Errorf("%w: %w", ErrShadow, err)
	}
	return nil
}

// mark is the comment on table replay of a shadow. No other schema is dropped.
const mark = "made by a replay of Pawl; it may be dropped"

// takeName creates the schema, empty except for table replay, which says that it is a shadow. It drops one that was
// left behind.
func (h *shadow) takeName(ctx context.Context) error {
	var exists, ours bool
	err := h.pool.QueryRow(ctx, `
SELECT to_regnamespace($1) IS NOT NULL, coalesce(obj_description(to_regclass($1 || '.replay'), 'pg_class') = $2, false)`, h.name, mark).Scan(&exists, &ours)
	sql := ""
	switch {
	case err != nil:
		return fmt.Errorf("look at schema %s: %w", h.name, err)
	case exists && !ours:
		return fmt.Errorf("%w: %s exists, and no replay has made it; name another one", ErrShadow, h.name)
	case exists:
		sql = "DROP SCHEMA " + h.name + " CASCADE; "
	}
	// Several statements without parameters are one transaction.
	sql += fmt.Sprintf(`CREATE SCHEMA %[1]s; CREATE UNLOGGED TABLE %[1]s.replay (one boolean PRIMARY KEY DEFAULT true, state jsonb NOT NULL);
COMMENT ON TABLE %[1]s.replay IS '%[2]s'`, h.name, mark)
	if _, err = h.pool.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%w: %w", ErrShadow, err)
	}
	return nil
}

// sequenceDefaultsSQL finds the columns of table $1 whose default calls nextval of a sequence.
const sequenceDefaultsSQL = `
SELECT quote_ident(a.attname), a.attnum, pg_get_expr(d.adbin, d.adrelid)
FROM pg_catalog.pg_attrdef AS d JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE d.adrelid = to_regclass($1) AND a.attgenerated = '' AND pg_get_expr(d.adbin, d.adrelid) ~ 'nextval\(''[^)]*''::regclass\)'`

var nextval = regexp.MustCompile(`nextval\('[^)]*'::regclass\)`)

// ownSequences gives a copy sequences of its own, so that it takes no values from those of the
// live table.
func (h *shadow) ownSequences(ctx context.Context, table string) error {
	rows, err := h.pool.Query(ctx, sequenceDefaultsSQL, h.name+"."+table)
	if err != nil {
		return fmt.Errorf("read the defaults of the live table: %w", err)
	}
	var column, expression string
	var number int
	var statements []string
	_, err = pgx.ForEachRow(rows, []any{&column, &number, &expression}, func() error {
		sequence := fmt.Sprintf("%s.%s_%d", h.name, table, number)
		own := nextval.ReplaceAllLiteralString(expression, "nextval("+literal(sequence)+"::regclass)")
		statements = append(statements, fmt.Sprintf("CREATE SEQUENCE %s; ALTER TABLE %s.%s ALTER %s SET DEFAULT %s", sequence, h.name, table, column, own))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the defaults of the live table: %w", err)
	}
	for _, sql := range statements {
		if _, err := h.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrShadow, sql, err)
		}
	}
	return nil
}
