package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// This file handles tables that are altered while a store uses them. The store relies
// on what the catalog says about its tables: how values are encoded, which tables need
// stepwise writes, which records can't be written at all. So each transaction that
// writes rows or dead letters fails if the catalog has changed. It checks that after it
// has locked the tables, so they can't be altered before it commits. Then the store
// reads the catalog again and judges the records again.

// errAltered says that a table was altered. Nothing was written.
var errAltered = errors.New("a table was altered")

// A catalogPart is a list of catalog rows about a table, in the order of their keys.
type catalogPart struct {
	what  string // of each row; of the type xid or text
	typ   string
	rows  string // the rest of the query; %s stands for what says that an OID is one of those concerned
	order string
}

// The parts of a fingerprint are versions (xmin) of catalog rows. Everything that
// matters here changes one of them, even if it has no row of its own in these queries:
// adding a CHECK changes a count in pg_class, and adding a default changes the row of
// its column. A row that is added or removed changes the list.
//
// Triggers of foreign keys are left out. The foreign keys that matter are constraints
// of the table itself. A foreign key from another table to this one may be created by a
// trigger, in the middle of a transaction.
var (
	// These are about the table and its partitions.
	partsOfTable = []catalogPart{
		{"oid || ' ' || xmin || pg_catalog.row_security_active(oid)", "text", "pg_catalog.pg_class WHERE oid %s", "oid"},
		{"xmin", "xid", "pg_catalog.pg_attribute WHERE attrelid %s AND attnum > 0", "attrelid, attnum"},
		{"xmin::text || indisvalid || indisready", "text", "pg_catalog.pg_index WHERE indrelid %s", "indexrelid"},
		{"xmin", "xid", "pg_catalog.pg_constraint WHERE conrelid %s", "oid"},
		{"xmin", "xid", "pg_catalog.pg_rewrite WHERE ev_class %s", "oid"},
		{"t.xmin || ' ' || p.xmin", "text", "pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid WHERE t.tgrelid %s AND NOT t.tgisinternal", "t.oid"},
	}
	// These are there only if there are such objects.
	partsOfParents   = []catalogPart{{"inhrelid || ' ' || xmin", "text", "pg_catalog.pg_inherits WHERE inhparent %s", "inhparent, inhrelid"}}
	partsOfFunctions = []catalogPart{{"xmin", "xid", "pg_catalog.pg_proc WHERE oid %s", "oid"}}
	partsOfTypes     = []catalogPart{
		{"t.xmin || ' ' || n.xmin", "text", "pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace WHERE t.oid %s", "t.oid"},
		{"xmin", "xid", "pg_catalog.pg_enum WHERE enumtypid %s", "oid"},
		{"xmin", "xid", "pg_catalog.pg_constraint WHERE contypid %s", "oid"},
	}
	partsOfCollations = []catalogPart{
		{"c.xmin || ' ' || n.xmin", "text", "pg_catalog.pg_collation AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace WHERE c.oid %s", "c.oid"},
	}
)

// objectsQuery lists table $1 with its partitions and inheriting tables; those of them
// that have children; the functions that defaults, constraints and indexes call; and
// the user-defined types and collations of the columns. It includes the base types of
// domains and the element types of arrays.
const objectsQuery = `
WITH RECURSIVE tree AS (
	SELECT $1::oid AS oid
	UNION
	SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid
), callers AS (
	SELECT 'pg_catalog.pg_attrdef'::regclass AS class, d.oid FROM pg_catalog.pg_attrdef AS d JOIN tree ON d.adrelid = tree.oid
	UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, c.oid FROM pg_catalog.pg_constraint AS c JOIN tree ON c.conrelid = tree.oid
	UNION ALL SELECT 'pg_catalog.pg_class'::regclass, i.indexrelid FROM pg_catalog.pg_index AS i JOIN tree ON i.indrelid = tree.oid
), columns AS (
	SELECT atttypid, attcollation FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
), used AS (
	SELECT atttypid AS oid FROM columns
	UNION
	SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END
	FROM pg_catalog.pg_type AS t JOIN used ON t.oid = used.oid WHERE t.typtype = 'd' OR t.typcategory = 'A'
)
SELECT ARRAY(SELECT oid FROM tree),
       ARRAY(SELECT c.oid FROM pg_catalog.pg_class AS c JOIN tree ON c.oid = tree.oid WHERE c.relhassubclass),
       ARRAY(SELECT DISTINCT d.refobjid FROM callers AS c JOIN pg_catalog.pg_depend AS d
             ON d.classid = c.class AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_proc'::regclass),
       ARRAY(SELECT oid FROM used WHERE oid >= 16384),
       ARRAY(SELECT DISTINCT attcollation FROM columns WHERE attcollation >= 16384)`

// A fingerprint identifies what the catalog said about a table at one time. Each transaction
// that writes compares it, so that is cheap: PostgreSQL starts a scalar subquery of each part,
// which is faster than their UNION, and needs no text for the rows of most of them. All that
// it is compared with is constant. PostgreSQL reads a constant once, and a parameter in each
// transaction.
type fingerprint struct {
	same  string // an expression: whether the catalog still says the same
	value string // a hash of what it said
}

// takeFingerprint is called before anything else is read about the table, so that any
// later change is noticed. If in is nil, it leaves out the registered definitions.
func (t *table) takeFingerprint(ctx context.Context, conn *pgxpool.Conn, in *schema) error {
	return pgx.BeginTxFunc(ctx, conn, repeatableRead, func(tx pgx.Tx) error {
		var tables, parents, functions, types, collations []uint32
		if err := tx.QueryRow(ctx, objectsQuery, oneMessage, t.oid).Scan(&tables, &parents, &functions, &types, &collations); err != nil {
			return err
		}
		d := &description{{value: fmt.Sprintf("pg_catalog.to_regclass(%s)::oid", literal(t.ident)), typ: "oid"}}
		d.add(partsOfTable, tables)
		d.add(partsOfParents, parents)
		d.add(partsOfFunctions, functions)
		d.add(partsOfTypes, types)
		d.add(partsOfCollations, collations)
		if in != nil {
			d.addDefinitions(in, t.Machine.Name())
		}
		var err error
		t.fingerprint, err = d.read(ctx, tx)
		return err
	})
}

// A description lists what the catalog says about a table.
type description []struct {
	value string // an expression
	typ   string
	rows  string // the rows that the value has, if it is an array
}

// add adds the parts about some objects, if there are any.
func (d *description) add(parts []catalogPart, of []uint32) {
	if len(of) == 0 {
		return
	}
	is := fmt.Sprintf("= '%d'::oid", of[0]) // then an index has the rows in their order
	if len(of) > 1 {
		is = fmt.Sprintf("= ANY ('{%s}'::oid[])", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(of)), ","), "[]"))
	}
	for _, p := range parts {
		rows := fmt.Sprintf(p.rows, is)
		*d = append(*d, struct{ value, typ, rows string }{fmt.Sprintf("ARRAY(SELECT %s FROM %s ORDER BY %s)", p.what, rows, p.order), p.typ + "[]", rows})
	}
}

// addDefinitions adds which definitions of a machine are registered.
func (d *description) addDefinitions(in *schema, machine string) {
	rows := fmt.Sprintf("%s.machines WHERE name = %s", in.quoted, literal(machine))
	*d = append(*d, struct{ value, typ, rows string }{fmt.Sprintf("ARRAY(SELECT version::bigint * 2 + withdrawn::integer FROM %s ORDER BY version)", rows), "bigint[]", rows})
}

// read returns the fingerprint with the current values.
func (d *description) read(ctx context.Context, tx pgx.Tx) (fingerprint, error) {
	values := make([]string, len(*d))
	for i, part := range *d {
		values[i] = "(" + part.value + ")::text"
	}
	var now []string
	if err := tx.QueryRow(ctx, "SELECT ARRAY["+strings.Join(values, ", ")+"]", oneMessage).Scan(&now); err != nil {
		return fingerprint{}, err
	}
	same := make([]string, len(*d))
	for i, part := range *d {
		same[i] = fmt.Sprintf("%s = %s::%s", part.value, literal(now[i]), part.typ)
		if now[i] == "{}" {
			same[i] = "NOT EXISTS (SELECT FROM " + part.rows + ")"
		}
	}
	hash := sha256.Sum256([]byte(strings.Join(now, "\n")))
	return fingerprint{same: "(" + strings.Join(same, " AND ") + ") IS TRUE", value: hex.EncodeToString(hash[:8])}, nil
}

// literal returns a text as an SQL literal.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// repeatableRead are the options of a transaction whose queries all see the same data.
var repeatableRead = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// holds reports whether the catalog still says the same.
func (f *fingerprint) holds(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) (holds bool, err error) {
	err = db.QueryRow(ctx, "SELECT "+f.same, oneMessage).Scan(&holds)
	return holds, err
}

// guard returns a statement that fails with errMoved if the catalog says something else.
func (f *fingerprint) guard(in *schema) string {
	return fmt.Sprintf("SELECT (same = true)::%s.guarded FROM (SELECT %s) AS catalog(same)", in.quoted, f.same)
}

// unaltered checks that no table was altered on which the script relies: it writes rows
// of the table, or refuses records that the table may accept now.
func (w *writer) unaltered(c *script) {
	for _, t := range w.store.tables {
		name := t.Machine.Name()
		if len(c.plan.Dead) > 0 || c.tells || slices.ContainsFunc(c.moves, func(m *versioning.Move) bool { return m.Entity.Machine == name }) {
			w.batch.Queue(t.fingerprint.guard(w.store.schema))
		}
	}
}

// orAltered returns errAltered, wrapping err, if one of the tables was altered and err
// may be a result of that.
func (s *snapshot) orAltered(ctx context.Context, err error) error {
	if !mayBeAltered(err) {
		return err
	}
	for _, t := range s.tables {
		if holds, failed := t.fingerprint.holds(ctx, s.pool); failed == nil && !holds {
			return fmt.Errorf("%w: %s: %w", errAltered, t.Name, err)
		}
	}
	if s.hashed && isCode(err, undefinedColumn) { // the schema of a backup may be older
		if hashed, failed := s.schema.isHashed(ctx, s.pool); failed == nil && !hashed {
			return fmt.Errorf("%w: the history: %w", errAltered, err)
		}
	}
	return err
}

// mayBeAltered reports whether an error may mean that a table was altered. An error
// about data that PostgreSQL refuses on a write does not: the transaction that acts on
// it is guarded.
func mayBeAltered(err error) bool {
	if errors.Is(err, errAltered) {
		return false // already known
	}
	switch causeOf(err) {
	case versioning.NoCause:
		return false
	case versioning.Fatal:
		return true
	case versioning.Data:
		return errors.Is(err, errRead)
	case versioning.Infrastructure:
	}
	return isRefusal(err) || errors.Is(err, errMoved) || errors.Is(err, ErrAllRefused)
}

// refresh reads a new snapshot from the catalog, if the store still uses old.
func (s *Store) refresh(ctx context.Context, old *snapshot) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	if s.snapshot.Load() != old {
		return nil
	}
	return connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		e, err := s.inspect(ctx, conn)
		if err != nil {
			return fmt.Errorf("%w and can't be used until it is fixed: %w", errAltered, err)
		}
		for _, t := range e.tables {
			if before := old.byMachine[t.Machine.Name()]; before != nil {
				t.refusals.continueFrom(&before.refusals)
			}
		}
		s.snapshot.Store(e)
		return nil
	})
}

// retryAltered runs work with the current snapshot, and again with a new one each time
// a table was altered meanwhile.
func (s *Store) retryAltered(ctx context.Context, work func(*snapshot) error) error {
	for attempt := 1; ; attempt++ {
		e := s.snapshot.Load()
		err := e.orAltered(ctx, work(e))
		if !errors.Is(err, errAltered) || attempt == maxAttempts {
			return err
		}
		if err := s.refresh(ctx, e); err != nil {
			return err
		}
	}
}
