package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A line sends many tries of a transaction in one round trip, each of which may fail
// without the others.
//
// PostgreSQL goes on after an error at the next Sync, in a transaction that has failed
// and takes nothing but a ROLLBACK. So each try is
//
//	ROLLBACK TO SAVEPOINT try; ...; SAVEPOINT try; Sync
//
// The first statement undoes the try before it if that has failed, for then its
// SAVEPOINT was not made, and the name means an earlier one. It undoes nothing if that
// has succeeded.
type line struct {
	conn       *pgx.Conn
	statements map[string]*pgconn.StatementDescription // by their text
	id         uint64                                  // names them: a pooler's other clients have theirs
	built      pgx.ExtendedQueryBuilder
	open       bool // there is a savepoint to return to
}

func newLine(conn *pgx.Conn) *line {
	return &line{conn: conn, statements: make(map[string]*pgconn.StatementDescription), id: rand.Uint64()}
}

// try makes tries, and returns what became of each: nil, or an error of PostgreSQL.
// What succeeded can be undone, all of it, until the next call.
func (l *line) try(ctx context.Context, tries [][]*pgx.QueuedQuery) ([]error, error) {
	if err := l.prepare(ctx, tries); err != nil {
		return nil, err
	}
	p := l.conn.PgConn().StartPipeline(ctx)
	if l.open {
		l.plain(p, "RELEASE SAVEPOINT tries")
	}
	l.plain(p, "SAVEPOINT tries")
	l.plain(p, "SAVEPOINT try")
	for _, statements := range tries {
		l.plain(p, "ROLLBACK TO SAVEPOINT try")
		for _, q := range statements {
			if err := l.send(p, q); err != nil {
				return nil, errors.Join(err, p.Close())
			}
		}
		l.plain(p, "SAVEPOINT try")
		p.SendPipelineSync()
	}
	l.plain(p, "ROLLBACK TO SAVEPOINT try")
	results, err := l.results(p, len(tries))
	if err := errors.Join(err, p.Close()); err != nil {
		return nil, err
	}
	l.open = true
	return results, nil
}

// undo undoes what the last call of try has done.
func (l *line) undo(ctx context.Context) error {
	_, err := l.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT tries")
	return err
}

// close forgets the statements. Where that fails, so does the transaction.
func (l *line) close(ctx context.Context) {
	p := l.conn.PgConn().StartPipeline(ctx)
	for _, s := range l.statements {
		p.SendDeallocate(s.Name)
	}
	_ = p.Sync()
	_ = p.Close()
}

// prepare prepares the statements that are new.
func (l *line) prepare(ctx context.Context, tries [][]*pgx.QueuedQuery) error {
	var texts []string
	for _, statements := range tries {
		for _, q := range statements {
			if _, ok := l.statements[q.SQL]; !ok {
				l.statements[q.SQL] = nil
				texts = append(texts, q.SQL)
			}
		}
	}
	if len(texts) == 0 {
		return nil
	}
	p := l.conn.PgConn().StartPipeline(ctx)
	name := func(i int) string { return fmt.Sprintf("pawl_%x_%d", l.id, len(l.statements)-i) }
	for i, text := range texts {
		p.SendPrepare(name(i), text, nil)
	}
	err := p.Sync()
	for i, text := range texts {
		var result any
		if err == nil {
			result, err = p.GetResults()
		}
		description, ok := result.(*pgconn.StatementDescription)
		if !ok {
			delete(l.statements, text)
			continue
		}
		description.Name = name(i)
		l.statements[text] = description
	}
	return errors.Join(err, p.Close())
}

func (l *line) plain(p *pgconn.Pipeline, sql string) { p.SendQueryParams(sql, nil, nil, nil, nil) }

func (l *line) send(p *pgconn.Pipeline, q *pgx.QueuedQuery) error {
	s := l.statements[q.SQL]
	if err := l.built.Build(l.conn.TypeMap(), s, q.Arguments); err != nil {
		return err
	}
	p.SendQueryPrepared(s.Name, l.built.ParamValues, l.built.ParamFormats, l.built.ResultFormats)
	return nil
}

// results reads what became of n tries. An error is one that is not of a try.
func (l *line) results(p *pgconn.Pipeline, n int) ([]error, error) {
	if err := p.Sync(); err != nil {
		return nil, err
	}
	results := make([]error, n)
	for i := range n + 1 {
		failed, err := segment(p)
		switch {
		case err != nil:
			return nil, err
		case i < n:
			results[i] = failed
		case failed != nil:
			return nil, failed
		}
	}
	return results, nil
}

// segment reads results up to the next Sync, and returns the first error of PostgreSQL's
// among them, and any other that ends the connection.
func segment(p *pgconn.Pipeline) (failed, broken error) {
	for {
		result, err := p.GetResults()
		switch r := result.(type) {
		case *pgconn.PipelineSync:
			return failed, nil
		case *pgconn.ResultReader:
			_, err = r.Close()
		case nil:
			if err == nil {
				return nil, errors.New("a pipeline ended early")
			}
		}
		if _, ok := errors.AsType[*pgconn.PgError](err); err != nil && !ok {
			return nil, err
		}
		if failed == nil {
			failed = err
		}
	}
}
