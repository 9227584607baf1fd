package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// rulesQuery lists what may refuse a write to a row of table $1, of a partition or of
// an inheriting table, or act on it. Its columns are: kind; name; the columns it
// depends on (an empty name means the whole row); an expression (for a trigger that may
// change the row, its function's source: see mayAssign); a flag, which means that the
// rule is harmless, deferred to the end of the statement, or, for a trigger, limited to
// certain columns; the referenced table; and its columns.
//
// Index expressions do not matter if all of their functions are leakproof: then no
// argument makes them fail.
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
       '', con.confupdtype IN ('c', 'n', 'd'), con.confrelid, -- ON UPDATE CASCADE, SET NULL, SET DEFAULT
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

// readRules reads the rulebook of a table. A rule that no row could ever satisfy
// becomes a *TableError.
func (t *table) readRules(ctx context.Context, conn *pgxpool.Conn) error {
	n := len(t.columns)
	t.rules = rulebook{constrained: make([]bool, n), indexed: make([]bool, n)}
	t.required = t.mustSet()
	rows, err := conn.Query(ctx, rulesQuery, oneMessage, t.oid)
	if err != nil {
		return err
	}
	rules, err := pgx.CollectRows(rows, pgx.RowToStructByPos[catalogRule])
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
		clear(t.rules.constrained)
	}
	if err := t.readDefaults(ctx, conn); err != nil {
		return err
	}
	return errors.Join(problems...)
}

// isTried reports whether a rule is a CHECK on the state column alone, or on the
// version column alone.
func (t *table) isTried(r catalogRule) bool {
	return r.Kind == "check" && len(r.Columns) == 1 && (r.Columns[0] == t.State || r.Columns[0] == t.Version)
}

// tryChecks asks PostgreSQL about every rule that may refuse a state by itself.
func (t *table) tryChecks(ctx context.Context, conn *pgxpool.Conn, rules []catalogRule) (problems []error, err error) {
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

// tryDomain asks PostgreSQL whether the domain of the state column accepts all states.
func (t *table) tryDomain(ctx context.Context, conn *pgxpool.Conn) (problems []error, err error) {
	for _, s := range t.Machine.States() {
		_, err := conn.Exec(ctx, fmt.Sprintf("SELECT $1::text::%s", t.state.typeName), oneMessage, string(s))
		switch {
		case err == nil:
		case causeOf(err) == versioning.Data:
			problems = append(problems, t.problem(t.State, "domain %s refuses %q, a state of machine %q (%v); change the domain to allow it",
				t.state.typeName, s, t.Machine.Name(), err))
		default:
			return nil, err
		}
	}
	return problems, nil
}

// readDefaults reads the defaults of the columns, as expressions that mean the same
// under any search_path.
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

// A catalogRule is one row of rulesQuery.
type catalogRule struct {
	Kind, Name    string
	Columns       []string
	Expression    string
	Flag          bool
	Parent        uint32
	ParentColumns []string
}

func (r catalogRule) String() string {
	switch {
	case r.Kind == "foreign":
		return "foreign key " + r.Name
	case r.Name == "":
		return r.Kind
	}
	return r.Kind + " " + r.Name
}

// tryCheck asks PostgreSQL whether a CHECK on the state or the version accepts
// everything that the framework may write. If it does, the CHECK does not require
// stepwise writes.
func (t *table) tryCheck(ctx context.Context, conn *pgxpool.Conn, check catalogRule) (problems []error, err error) {
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
	rows, err := conn.Query(ctx, query, oneMessage, values)
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
		problems = append(problems, t.problem(c.name, "CHECK %s refuses %q, a state of machine %q; change the CHECK to allow it", check.Name, v, t.Machine.Name()))
	}
	return problems, nil
}
