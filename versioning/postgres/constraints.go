package postgres

import (
	"github.com/pawl-go/pawl/versioning"

	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A rulebook is what the catalog says that a table could refuse or do when a row is
// written. Where it could tell a row that went through several steps in one write from
// one that was written step by step, each step is written by itself: see units.
type rulebook struct {
	everyStep []string // why each step has to reach the table: triggers, row security and the like
	touchy    []bool   // by column: a value may be refused, for itself or for what is in other columns
	reasons   []string // why columns are touchy
	indexed   []bool   // by column: long values may be refused
	unique    []uniqueness
	foreign   []foreignKey
	deferred  []string // quoted names of constraints that are checked at the COMMIT
	triggers  []string // names of the triggers
	ofColumns bool     // some of them are for updates that set certain columns
	derived   []bool   // by column: what a record sets does not tell the value: it is generated, or a trigger may set it
}

// A uniqueness is a unique index or an exclusion constraint: rows of different
// entities can be in each other's way.
type uniqueness struct {
	columns []bool // by column: a new value may take or give up a place in the index
	always  bool   // every step may: the index depends on the state or the version
	exact   []int  // the columns, where equal text, and nothing else, is an equal value
	late    bool   // checked at the end of a statement, not row by row

	nullsEqual bool // two rows with NULL are in each other's way
}

// A foreignKey is one of a table to a table of the same store.
type foreignKey struct {
	columns    []bool   // by column
	relation   uint32   // the referenced table
	references []string // its columns
	parent     *table   // the same, if it is one of the store's; see Store.link
	column     int      // the column that names an entity of the parent by its key; -1: it is named otherwise
	derived    bool     // a row may name another one than what it sets says
}

// rulesQuery lists what could refuse or do something when a row of table $1, of a
// partition or of an inheriting table is written: kind, name, the columns that it
// depends on (an empty name stands for the whole row), an expression (of a trigger that
// may change the row: its function's text, see mayAssign), whether it is lax or late, and
// the referenced table and its columns.
//
// Expressions of indexes are of no interest if all of their functions are leakproof,
// which they are only if no argument makes them fail.
const rulesQuery = `
WITH RECURSIVE tree AS (
	SELECT $1::oid AS oid
	UNION
	SELECT i.inhrelid FROM pg_inherits AS i JOIN tree ON i.inhparent = tree.oid
), indexes AS (
	SELECT i.*, c.relname, coalesce(i.indexprs::text, '') || coalesce(i.indpred::text, '') AS expressions,
	       ARRAY(SELECT DISTINCT coalesce(a.attname::text, '') FROM (
	                 SELECT unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS attnum
	                 UNION SELECT d.refobjsubid FROM pg_depend AS d
	                 WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
	                   AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
	             ) AS n LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = n.attnum AND n.attnum > 0
	             WHERE n.attnum <> 0 OR coalesce(i.indexprs::text, i.indpred::text) IS NULL) AS columns
	FROM pg_index AS i JOIN tree ON i.indrelid = tree.oid JOIN pg_class AS c ON c.oid = i.indexrelid
	WHERE i.indislive AND NOT c.relispartition
)
SELECT 'check' AS kind, con.conname::text AS name,
       ARRAY(SELECT coalesce(a.attname::text, '') FROM unnest(con.conkey) AS k LEFT JOIN pg_attribute AS a
             ON a.attrelid = con.conrelid AND a.attnum = k AND k > 0) AS columns,
       pg_get_expr(con.conbin, con.conrelid) AS expression, false AS flag, 0::oid AS parent, '{}'::text[] AS parent_columns
FROM pg_constraint AS con JOIN tree ON con.conrelid = tree.oid WHERE con.contype = 'c'
UNION ALL
SELECT 'unique', relname::text, columns,
       CASE WHEN indisexclusion OR expressions <> '' THEN 'not equality' WHEN to_jsonb(indexes)->>'indnullsnotdistinct' = 'true' THEN 'nulls' ELSE '' END,
       NOT indimmediate, 0::oid, '{}' FROM indexes WHERE indisunique OR indisexclusion
UNION ALL
SELECT 'index', relname::text, columns, '', NOT (
           EXISTS (SELECT FROM regexp_matches(expressions, ':(?:opfuncid|funcid) (\d+)', 'g') AS f(id)
                   LEFT JOIN pg_proc AS p ON p.oid = f.id[1]::oid WHERE p.proleakproof IS NOT TRUE)
           OR expressions ~ 'COERCEVIAIO|COERCETODOMAIN|ARRAYCOERCEEXPR|CONVERTROWTYPE|ROWCOMPARE|SQLVALUEFUNCTION|XMLEXPR'),
       0::oid, '{}'
FROM indexes
UNION ALL
SELECT 'foreign', con.conname::text,
       ARRAY(SELECT a.attname::text FROM unnest(con.conkey) AS k JOIN pg_attribute AS a ON a.attrelid = con.conrelid AND a.attnum = k),
       '', false, con.confrelid,
       ARRAY(SELECT a.attname::text FROM unnest(con.confkey) AS k JOIN pg_attribute AS a ON a.attrelid = con.confrelid AND a.attnum = k)
FROM pg_constraint AS con JOIN tree ON con.conrelid = tree.oid WHERE con.contype = 'f' AND con.conparentid = 0
UNION ALL
SELECT DISTINCT 'deferred', quote_ident(n.nspname) || '.' || quote_ident(con.conname), '{}'::text[], '', false, 0::oid, '{}'::text[]
FROM pg_constraint AS con JOIN tree ON con.conrelid = tree.oid JOIN pg_namespace AS n ON n.oid = con.connamespace WHERE con.condeferred
UNION ALL
SELECT DISTINCT 'trigger', tg.tgname::text, '{}'::text[],
       CASE WHEN tg.tgtype & 3 <> 3 THEN '' WHEN l.lanname = 'plpgsql' THEN p.prosrc ELSE 'new' END, -- row, before
       cardinality(tg.tgattr::int2[]) > 0, 0::oid, '{}'::text[]
FROM pg_trigger AS tg JOIN tree ON tg.tgrelid = tree.oid
JOIN pg_proc AS p ON p.oid = tg.tgfoid JOIN pg_language AS l ON l.oid = p.prolang
WHERE NOT tg.tgisinternal AND tg.tgenabled IN ('O', 'A') AND tg.tgtype & (4 | 16) <> 0
UNION ALL
SELECT 'rule', rulename::text, '{}', '', false, 0::oid, '{}' FROM pg_rewrite
WHERE ev_class = $1 AND ev_type IN ('2', '3') AND ev_enabled IN ('O', 'A')
UNION ALL
SELECT 'row security', '', '{}', '', false, 0::oid, '{}' WHERE row_security_active($1::oid)
UNION ALL
SELECT 'generated', a.attname::text,
       ARRAY(SELECT DISTINCT coalesce(s.attname::text, '') FROM pg_depend AS d LEFT JOIN pg_attribute AS s
             ON s.attrelid = d.refobjid AND s.attnum = d.refobjsubid AND d.refobjsubid > 0
             WHERE d.classid = 'pg_attrdef'::regclass AND d.objid = def.oid AND d.refclassid = 'pg_class'::regclass
               AND d.refobjid = def.adrelid AND d.refobjsubid <> def.adnum), '', false, 0::oid, '{}'
FROM pg_attribute AS a JOIN tree ON a.attrelid = tree.oid JOIN pg_attrdef AS def ON def.adrelid = a.attrelid AND def.adnum = a.attnum
WHERE a.attgenerated <> ''
UNION ALL
SELECT 'partition key', '', ARRAY(SELECT coalesce(a.attname::text, '') FROM unnest(p.partattrs::int2[]) AS k LEFT JOIN pg_attribute AS a
             ON a.attrelid = p.partrelid AND a.attnum = k AND k > 0), '', false, 0::oid, '{}'
FROM pg_partitioned_table AS p JOIN tree ON p.partrelid = tree.oid
ORDER BY kind, name`

// readRules reads the rulebook of a table. What it finds that no row could ever pass
// becomes a *TableError.
func (t *table) readRules(ctx context.Context, conn *pgxpool.Conn) error {
	n := len(t.columns)
	t.rules = rulebook{touchy: make([]bool, n), indexed: make([]bool, n)}
	t.required = t.mustSet()
	rows, err := conn.Query(ctx, rulesQuery, alone, t.oid)
	if err != nil {
		return err
	}
	rules, err := pgx.CollectRows(rows, pgx.RowToStructByPos[aRule])
	if err != nil {
		return err
	}
	problems, err := t.tryChecks(ctx, conn, rules)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if !t.isTried(r) {
			t.note(r)
		}
	}
	t.noteDerived(rules)
	if t.FoldSteps {
		t.rules.everyStep, t.rules.reasons = nil, nil
		clear(t.rules.touchy)
	}
	if err := t.readDefaults(ctx, conn); err != nil {
		return err
	}
	return errors.Join(problems...)
}

// mustSet returns the columns that a new row has to set, but the managed ones.
func (t *table) mustSet() (required []int) {
	for i := range t.columns {
		c := &t.columns[i]
		if c.notNull && !c.hasDefault && c.identity == "" && !c.generated && c != t.key && c != t.state && c != t.version {
			required = append(required, i)
		}
	}
	return required
}

// isTried reports whether a rule is a CHECK on the state alone, or on the version.
func (t *table) isTried(r aRule) bool {
	return r.Kind == "check" && len(r.Columns) == 1 && (r.Columns[0] == t.State || r.Columns[0] == t.Version)
}

// tryChecks asks PostgreSQL about all that could refuse a state for itself.
func (t *table) tryChecks(ctx context.Context, conn *pgxpool.Conn, rules []aRule) (problems []error, err error) {
	for _, r := range rules {
		if !t.isTried(r) {
			continue
		}
		more, err := t.tryCheck(ctx, conn, r)
		if err != nil {
			return nil, err
		}
		problems = append(problems, more...)
	}
	if !t.state.domain {
		return problems, nil
	}
	more, err := t.tryDomain(ctx, conn)
	return append(problems, more...), err
}

// tryDomain asks PostgreSQL whether the domain of the state column takes all states.
func (t *table) tryDomain(ctx context.Context, conn *pgxpool.Conn) (problems []error, err error) {
	for _, s := range t.Machine.States() {
		_, err := conn.Exec(ctx, fmt.Sprintf("SELECT $1::text::%s", t.state.typeName), alone, string(s))
		switch {
		case err == nil:
		case causeOf(err) == versioning.Data:
			problems = append(problems, t.problem(t.State, "domain %s refuses %q, a state of machine %q (%v); let it pass, with a migration",
				t.state.typeName, s, t.Machine.Name(), err))
		default:
			return nil, err
		}
	}
	return problems, nil
}

// readDefaults reads the defaults of the columns, as expressions that mean the same
// under every search_path.
func (t *table) readDefaults(ctx context.Context, conn *pgxpool.Conn) error {
	const query = `
SELECT a.attname::text, pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef AS d
JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.adrelid = $1 AND a.attgenerated = ''`
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog"); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, query, t.oid)
		if err != nil {
			return err
		}
		var name, expression string
		_, err = pgx.ForEachRow(rows, []any{&name, &expression}, func() error {
			t.columns[t.byName[name]].defaultSQL = expression
			return nil
		})
		return err
	})
}

// An aRule is one row of rulesQuery.
type aRule struct {
	Kind, Name    string
	Columns       []string
	Expression    string
	Flag          bool
	Parent        uint32
	ParentColumns []string
}

func (r aRule) String() string {
	switch {
	case r.Kind == "foreign":
		return "foreign key " + r.Name
	case r.Name == "":
		return r.Kind
	}
	return r.Kind + " " + r.Name
}

// note puts a rule into the rulebook.
func (t *table) note(r aRule) {
	columns, managed, whole := t.dependsOn(r)
	switch r.Kind {
	case "trigger":
		t.rules.triggers = append(t.rules.triggers, r.Name)
		t.rules.ofColumns = t.rules.ofColumns || r.Flag
		t.rules.everyStep = append(t.rules.everyStep, r.String())
	case "rule", "row security":
		t.rules.everyStep = append(t.rules.everyStep, r.String())
	case "deferred":
		t.rules.deferred = append(t.rules.deferred, r.Name)
	case "unique":
		t.noteUnique(r)
	case "index":
		for i, on := range columns {
			t.rules.indexed[i] = t.rules.indexed[i] || on
		}
		if !r.Flag {
			t.touch(r, columns, managed, whole)
		}
	case "foreign":
		t.rules.foreign = append(t.rules.foreign, foreignKey{columns: columns, relation: r.Parent, references: r.ParentColumns})
		t.touch(r, columns, managed, whole)
	default:
		t.touch(r, columns, managed, whole)
	}
}

// noteDerived notes which columns may have other values than what records set, and the
// constraints on them. FoldSteps does without.
func (t *table) noteDerived(rules []aRule) {
	t.rules.derived = make([]bool, len(t.columns))
	for i := range t.columns {
		c := &t.columns[i]
		t.rules.derived[i] = c.generated || !t.FoldSteps && slices.ContainsFunc(rules, func(r aRule) bool {
			return r.Kind == "trigger" && mayAssign(r.Expression, c.name)
		})
	}
	for i := range t.rules.unique {
		if index := &t.rules.unique[i]; t.rules.isDerived(index.columns) {
			index.always, index.exact = true, nil
		}
	}
	for i := range t.rules.foreign {
		f := &t.rules.foreign[i]
		f.derived = t.rules.isDerived(f.columns)
	}
}

// isDerived reports whether one of some columns is derived.
func (r *rulebook) isDerived(columns []bool) bool {
	for at, on := range columns {
		if on && r.derived[at] {
			return true
		}
	}
	return false
}

var (
	returnNew = regexp.MustCompile(`(?i)\breturn\s+new\s*;`)
	wholeNew  = regexp.MustCompile(`(?i)\bnew\b\s*([^\s.]|$)|U&"`)
)

// mayAssign reports whether a function in PL/pgSQL may give the new row another value
// in a column: it names the column, or does something with the row as a whole.
func mayAssign(source, column string) bool {
	source = returnNew.ReplaceAllString(source, "")
	return wholeNew.MatchString(source) || strings.Contains(strings.ToLower(source), strings.ToLower(strings.ReplaceAll(column, `"`, `""`)))
}

// noteUnique puts a unique index or an exclusion constraint into the rulebook.
func (t *table) noteUnique(r aRule) {
	if len(r.Columns) == 1 && r.Columns[0] == t.Key && r.Expression == "" {
		return // one row for each key is what the fold sees to
	}
	columns, managed, whole := t.dependsOn(r)
	index := uniqueness{columns: columns, always: managed || whole, late: r.Flag, nullsEqual: r.Expression == "nulls"}
	if r.Expression != "not equality" {
		index.exact = t.exactly(r.Columns)
	}
	t.rules.unique = append(t.rules.unique, index)
	t.touch(r, columns, managed, whole)
}

// dependsOn returns which columns a rule depends on, and whether it depends on what
// each step changes, or on the whole row.
func (t *table) dependsOn(r aRule) (columns []bool, managed, whole bool) {
	columns = make([]bool, len(t.columns))
	for _, name := range r.Columns {
		i, ok := t.byName[name]
		switch {
		case !ok:
			whole = true
		case &t.columns[i] == t.state, &t.columns[i] == t.version:
			managed = true
		case &t.columns[i] != t.key:
			columns[i] = true
		}
	}
	return columns, managed, whole
}

// touch notes that the table may refuse what a step makes of some columns.
func (t *table) touch(r aRule, columns []bool, managed, whole bool) {
	switch {
	case whole, managed:
		t.rules.everyStep = append(t.rules.everyStep, r.String())
	case slices.Contains(columns, true):
		t.rules.reasons = append(t.rules.reasons, r.String())
		for i, on := range columns {
			t.rules.touchy[i] = t.rules.touchy[i] || on
		}
	}
}

// exactly returns the columns with the given names, or nil if one of them has values
// that are equal although their texts are not.
func (t *table) exactly(names []string) (exact []int) {
	for _, name := range names {
		i, ok := t.byName[name]
		if !ok {
			return nil
		}
		if c := &t.columns[i]; !c.exactText || !slices.Contains(keyTypes, c.base) {
			return nil
		}
		exact = append(exact, i)
	}
	return exact
}

// tryCheck asks PostgreSQL whether a CHECK on the state, or on the version, lets all
// pass that the framework could write. If it does, it has nothing to do with steps.
func (t *table) tryCheck(ctx context.Context, conn *pgxpool.Conn, check aRule) (problems []error, err error) {
	c := t.find(check.Columns[0])
	var values []string
	if c == t.state {
		for _, s := range t.Machine.States() {
			if s != "" {
				values = append(values, string(s))
			}
		}
	} else {
		values = []string{"1", "2", "1000", fmt.Sprint(math.MaxInt32)}
	}
	query := fmt.Sprintf(`
SELECT u.v FROM pg_catalog.unnest($1::text[]) AS u(v) CROSS JOIN LATERAL (SELECT u.v::%s AS %s) AS t WHERE NOT (%s)`,
		c.cast, c.sqlName(), check.Expression)
	rows, err := conn.Query(ctx, query, alone, values)
	if err != nil {
		return nil, err
	}
	refused, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, v := range refused {
		if c == t.version {
			t.rules.everyStep = append(t.rules.everyStep, check.String())
			break
		}
		problems = append(problems, t.problem(c.name, "CHECK %s refuses %q, a state of machine %q; let it pass, with a migration", check.Name, v, t.Machine.Name()))
	}
	return problems, nil
}

// link finds the tables of the store that foreign keys of others reference.
func (s *edition) link() {
	for _, t := range s.tables {
		for i := range t.rules.foreign {
			f := &t.rules.foreign[i]
			f.column = -1
			for _, parent := range s.tables {
				if parent.oid != f.relation {
					continue
				}
				f.parent = parent
				if len(f.references) == 1 && f.references[0] == parent.Key {
					f.column = slices.Index(f.columns, true)
				}
			}
		}
	}
}

// Stepwise returns the tables that could tell steps that are written one by one from
// steps that are written as one, so that those of one entity in one batch are written
// one by one. The steps of different entities are written together all the same. See
// [Table.FoldSteps] for a way out.
func (s *Store) Stepwise() []versioning.Stepwise {
	var all []versioning.Stepwise
	for _, t := range s.edition.Load().tables {
		if len(t.rules.everyStep) > 0 || len(t.rules.reasons) > 0 {
			all = append(all, versioning.Stepwise{
				Machine: t.Machine.Name(), Table: t.Name, Always: slices.Clone(t.rules.everyStep), Sometimes: slices.Clone(t.rules.reasons),
			})
		}
	}
	return all
}
