package model_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// maxBalance is what the table "limited" accepts. Two large amounts fit, three do not.
const maxBalance = 1<<54 + 1<<20

var dataSchema = testenv.Template("model data", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, fmt.Sprintf(`
CREATE TABLE free (
	id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, balance bigint NOT NULL DEFAULT 0, credit bigint,
	notes text[], price numeric(12, 2), doc jsonb, memo text NOT NULL DEFAULT '', seen bigint NOT NULL DEFAULT 0);
CREATE TABLE limited (LIKE free INCLUDING ALL, CHECK (balance <= %d));
CREATE TABLE deep (
	id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
	notes text[], numbers bigint[], credit bigint, price numeric, doc jsonb, tree jsonb, seen bigint NOT NULL DEFAULT 0)`, maxBalance))
	return errors.Join(err, conn.Close(ctx))
})

// TestDataInPostgres is TestData with PostgreSQL as the store, and a few of the
// cases. In some of them, the database refuses rows.
func TestDataInPostgres(t *testing.T) {
	fewer(t, 50)
	pool := testenv.Pool(t, dataSchema)
	hooked := newHookedPool(t, pool)
	for _, draw := range drawings {
		t.Run(draw.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				checkData(t, draw, func(t *rapid.T, rules versioning.Rules, m *model.Model) dataStore {
					return openDataPostgres(t, hooked, pool, rules, m)
				})
			})
		})
	}
}

// A hookedPool runs a function once, before the next time that one of its connections
// writes.
type hookedPool struct {
	*pgxpool.Pool

	hook func(context.Context)
}

func newHookedPool(t *testing.T, pool *pgxpool.Pool) *hookedPool {
	t.Helper()
	h := &hookedPool{}
	config := pool.Config()
	config.ConnConfig.Tracer = h
	var err error
	if h.Pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// TraceQueryStart implements [pgx.QueryTracer].
func (h *hookedPool) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (h *hookedPool) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements [pgx.BatchTracer].
func (h *hookedPool) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	isWrite := func(q *pgx.QueuedQuery) bool {
		sql := strings.TrimSpace(q.SQL)
		return strings.HasPrefix(sql, "UPDATE") || strings.HasPrefix(sql, "INSERT") || strings.HasPrefix(sql, "DELETE") || strings.HasPrefix(sql, "WITH")
	}
	if h.hook != nil && slices.ContainsFunc(data.Batch.QueuedQueries, isWrite) {
		hook := h.hook
		h.hook = nil
		hook(ctx)
	}
	return ctx
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (h *hookedPool) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements [pgx.BatchTracer].
func (h *hookedPool) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// dataInPostgres is the store in PostgreSQL.
type dataInPostgres struct {
	inPostgres

	hooked *hookedPool
}

func openDataPostgres(t *rapid.T, hooked *hookedPool, pool *pgxpool.Pool, rules versioning.Rules, m *model.Model) dataStore {
	table := "free"
	m.Stored = model.Round
	if rapid.Bool().Draw(t, "limited") {
		table = "limited"
		m.Accepts = func(r model.Row) bool { return r.Balance <= maxBalance }
	}
	if _, err := pool.Exec(t.Context(), `TRUNCATE pawl.tables, pawl.machines, pawl.transitions, pawl.parked, pawl.dead_letters, `+table); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), hooked.Pool, postgres.Table{
		Machine: rules.Machine, Name: table, Identity: rules.Identity, MaxParked: rules.MaxParked,
	})
	if err != nil {
		t.Fatal(err)
	}
	return dataInPostgres{inPostgres{s, pool, table}, hooked}
}

func (p dataInPostgres) look(t *rapid.T) found {
	f := p.inPostgres.look(t)
	var key string
	var c model.Columns
	p.each(t, `SELECT id, balance, credit, notes, price, doc, memo, seen FROM `+p.table,
		[]any{&key, &c.Balance, &c.Credit, &c.Notes, &c.Price, &c.Doc, &c.Memo, &c.Seen}, func() {
			r := f.Rows[key]
			r.Columns = c.String()
			f.Rows[key] = r
			c = model.Columns{}
		})
	return f
}

func (p dataInPostgres) write(t *rapid.T, writes []model.Write) {
	if err := p.tryWrite(t.Context(), writes); err != nil {
		t.Fatal(err)
	}
}

// tryWrite makes all writes or none. It does not wait for locks.
func (p dataInPostgres) tryWrite(ctx context.Context, writes []model.Write) error {
	if len(writes) == 0 {
		return nil
	}
	statements := []string{"SET LOCAL lock_timeout = '20ms'"}
	for _, w := range writes {
		value := map[string]string{
			"seen": "seen = seen + %d", "memo": "memo = 'somebody''s %d'", "balance": "balance = balance + %d",
			"credit": "credit = CASE WHEN %[1]d > 0 THEN %[1]d END", "notes": "notes = notes || 'somebody''s %d'::text",
			"nothing": "balance = balance + 0 * %d",
		}[w.Column]
		statements = append(statements, fmt.Sprintf(`UPDATE %s SET %s WHERE id = '%s'`, p.table, fmt.Sprintf(value, w.N), w.Key))
	}
	_, err := p.pool.Exec(ctx, strings.Join(statements, "; ")) // one transaction
	return err
}

func (p dataInPostgres) applyWhile(t *rapid.T, records []*versioning.Record, writes []model.Write) (between bool) {
	var failed error
	p.hooked.hook = func(ctx context.Context) {
		err := p.tryWrite(ctx, writes)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "55P03" {
			return // the store has locked the rows already
		}
		between, failed = true, err
	}
	result, err := p.Apply(t.Context(), "", records)
	p.hooked.hook = nil
	if err == nil && len(result.Outcomes) != len(records) {
		err = errors.New("not all records have a verdict")
	}
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	if !between {
		p.write(t, writes)
	}
	return between
}
