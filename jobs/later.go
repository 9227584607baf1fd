package jobs

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning/postgres"
)

// A laterTx is the transaction that River inserts in. It queues the statements, which the
// store sends together with its own, and pretends that they returned no rows. River asks for
// single rows with QueryRow, about the server: those queries are sent at once.
type laterTx struct{ postgres.Tx }

// Query queues a statement.
func (t laterTx) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	t.Queue(sql, args...)
	return noRows{}, nil
}

// Exec queues a statement.
func (t laterTx) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	t.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

// noRows is an empty result.
type noRows struct{}

func (noRows) Close()                                       {}
func (noRows) Err() error                                   { return nil }
func (noRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (noRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (noRows) Next() bool                                   { return false }
func (noRows) Scan(...any) error                            { return pgx.ErrNoRows }
func (noRows) Values() ([]any, error)                       { return nil, pgx.ErrNoRows }
func (noRows) RawValues() [][]byte                          { return nil }
func (noRows) Conn() *pgx.Conn                              { return nil }
func (noRows) TypeMap() *pgtype.Map                         { return pgtype.NewMap() }
