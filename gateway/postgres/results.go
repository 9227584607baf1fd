package postgres

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rows makes a call that returns rows.
func (g *guard) rows(query func() (pgx.Rows, error)) (rows pgx.Rows, err error) {
	err = g.do(func() (err error) {
		rows, err = query() //nolint:sqlclosecheck // the caller closes them
		return err
	})
	if rows == nil { // refused
		return pgx.FailedBatchResults(&pgx.Batch{}, err).Query() //nolint:sqlclosecheck // they are closed
	}
	return &guardedRows{Rows: rows, guard: g}, err
}

// row makes a call that returns a row.
func (g *guard) row(query func() pgx.Row) pgx.Row {
	row := &guardedRow{guard: g}
	row.refused = g.do(func() error {
		row.row = query()
		return nil
	})
	return row
}

// guardedRows are read from the connection as long as they are open.
type guardedRows struct {
	pgx.Rows

	guard   *guard
	refused error // of a call that reads
}

func (r *guardedRows) Next() bool {
	if r.refused = r.guard.enter(); r.refused != nil {
		return false
	}
	defer r.guard.leave()
	return r.Rows.Next() //nolint:forbidigo // this is what the others call
}

func (r *guardedRows) Scan(dest ...any) error {
	if r.refused = r.guard.enter(); r.refused != nil {
		return r.refused
	}
	defer r.guard.leave()
	return r.Rows.Scan(dest...)
}

// Values closes the rows after an error.
func (r *guardedRows) Values() ([]any, error) {
	if r.refused = r.guard.enter(); r.refused != nil {
		return nil, r.refused
	}
	defer r.guard.leave()
	return r.Rows.Values()
}

// Close has nothing to do after the handler: the gateway closes the connection of open rows.
func (r *guardedRows) Close() {
	if r.guard.enter() != nil {
		return
	}
	defer r.guard.leave()
	r.Rows.Close()
}

func (r *guardedRows) Err() error {
	if r.refused != nil {
		return r.refused
	}
	return r.Rows.Err()
}

// Conn returns nil after the handler has returned.
func (r *guardedRows) Conn() *pgx.Conn {
	if !r.guard.expose() {
		return nil
	}
	return r.Rows.Conn()
}

// A guardedRow is read from the connection by Scan.
type guardedRow struct {
	row     pgx.Row
	guard   *guard
	refused error
}

func (r *guardedRow) Scan(dest ...any) error {
	if r.refused != nil {
		return r.refused
	}
	return r.guard.do(func() error { return r.row.Scan(dest...) })
}

// A guardedBatch is read from the connection as long as it is open.
type guardedBatch struct {
	pgx.BatchResults

	guard *guard
}

func (b guardedBatch) Exec() (tag pgconn.CommandTag, err error) {
	err = b.guard.do(func() (err error) {
		tag, err = b.BatchResults.Exec()
		return err
	})
	return tag, err
}

func (b guardedBatch) Query() (pgx.Rows, error) { return b.guard.rows(b.BatchResults.Query) }

func (b guardedBatch) QueryRow() pgx.Row { return b.guard.row(b.BatchResults.QueryRow) }

func (b guardedBatch) Close() error { return b.guard.do(b.BatchResults.Close) }
