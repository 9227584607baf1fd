package migrate_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv" //nolint:depguard // tests run against a server, migrations do not need it
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
)

var update = flag.Bool("update", false, "rewrite docs/schema.md")

const pageHead = `# The framework's schema

<!-- Generated from the comments in the database. To change it, add a migration with
COMMENT ON statements and run: go test ./migrations/migrate -run TestSchemaPage -update -->

The tables, indexes and domains of schema ` + "`pawl`" + ` at version %d. Package [migrate](../migrations/migrate) creates them. Your own queries may read all of them. Only the framework writes them. The words are those of the [glossary](glossary.md). Newer versions may add columns, so name the columns that you select.
`

// TestSchemaPage compares docs/schema.md with what Up creates. With -update it writes
// the page.
func TestSchemaPage(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	if err := migrate.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	got := schemaPage(t, connect(t, url))
	path := filepath.Join("..", "..", "docs", "schema.md")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what the migrations create; run this test with -update (-file +database):\n%s", path, diff)
	}
}

// schemaPage returns the page. It fails the test if something has no comment.
func schemaPage(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	var page strings.Builder
	fmt.Fprintf(&page, pageHead, migrations.Version)
	for _, table := range pageRows(t, pool, tablesSQL) {
		writeTable(t, &page, pool, table[0], table[1])
	}
	for _, domain := range pageRows(t, pool, domainsSQL) {
		fmt.Fprintf(&page, "\n## Domain `%s`\n\n%s\n\nType: `%s`. Constraints: %s.\n", domain[0], described(t, domain[0], domain[1]), domain[2], domain[3])
	}
	return page.String()
}

func writeTable(t *testing.T, page *strings.Builder, pool *pgxpool.Pool, table, comment string) {
	t.Helper()
	fmt.Fprintf(page, "\n## Table `%s`\n\n%s\n", table, described(t, table, comment))
	if table == "goose_db_version" {
		return // its columns are goose's
	}
	page.WriteString("\n| column | type | |\n|---|---|---|\n")
	for _, c := range pageRows(t, pool, columnsSQL, table) {
		fmt.Fprintf(page, "| `%s` | `%s`%s | %s |\n", c[0], c[1], c[2], described(t, table+"."+c[0], c[3]))
	}
	page.WriteString("\n| key or index | on | |\n|---|---|---|\n")
	for _, i := range pageRows(t, pool, indexesSQL, table) {
		if i[3] == "" {
			i[3] = described(t, i[0], i[2])
		}
		fmt.Fprintf(page, "| `%s` | `%s` | %s |\n", i[0], usingBtree.ReplaceAllString(i[1], ""), i[3])
	}
}

// usingBtree matches what pg_get_indexdef puts before the columns of an index.
var usingBtree = regexp.MustCompile(`^.* USING btree `)

func described(t *testing.T, name, comment string) string {
	t.Helper()
	if comment == "" {
		t.Errorf("%s has no comment; COMMENT ON it in a migration", name)
	}
	return strings.ReplaceAll(comment, "|", `\|`)
}

// pageRows returns the rows of a query for texts.
func pageRows(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) [][]string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]string, error) {
		texts := make([]string, len(row.FieldDescriptions()))
		into := make([]any, len(texts))
		for i := range texts {
			into[i] = &texts[i]
		}
		return texts, row.Scan(into...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const (
	tablesSQL = `
SELECT relname::text, coalesce(obj_description(oid, 'pg_class'), '')
FROM pg_class WHERE relnamespace = 'pawl'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
ORDER BY relname COLLATE "C"`

	columnsSQL = `
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.attnotnull THEN '' ELSE ', may be NULL' END
       || CASE a.attidentity WHEN 'a' THEN ', generated' ELSE '' END
       || coalesce(', default ` + "`' || pg_get_expr(d.adbin, d.adrelid) || '`" + `', ''),
       coalesce(col_description(a.attrelid, a.attnum), '')
FROM pg_attribute AS a
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = format('pawl.%I', $1::text)::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum`

	// indexesSQL returns the kind of a key too: a key needs no comment.
	indexesSQL = `
SELECT c.relname::text, pg_get_indexdef(i.indexrelid), coalesce(obj_description(c.oid, 'pg_class'), ''),
       CASE WHEN i.indisprimary THEN 'Primary key.' WHEN i.indisunique THEN 'Unique.' ELSE '' END
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = format('pawl.%I', $1::text)::regclass
ORDER BY NOT i.indisprimary, c.relname COLLATE "C"`

	domainsSQL = `
SELECT t.typname::text, coalesce(obj_description(t.oid, 'pg_type'), ''), format_type(t.typbasetype, t.typtypmod),
       coalesce((SELECT string_agg('` + "`' || conname || '` `' || pg_get_constraintdef(oid) || '`" + `', ', ' ORDER BY conname COLLATE "C")
                 FROM pg_constraint WHERE contypid = t.oid AND contype = 'c'), 'none')
FROM pg_type AS t WHERE t.typnamespace = 'pawl'::regnamespace AND t.typtype = 'd'
ORDER BY t.typname COLLATE "C"`
)
