package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A pipeline sends many tries of a transaction in one round trip. Each try may fail
// without affecting the others.
//
// After an error, PostgreSQL skips to the next Sync. The transaction has then failed
// and accepts only a ROLLBACK. So each try is
//
//	ROLLBACK TO SAVEPOINT try; ...; SAVEPOINT try; Sync
//
// If the previous try failed, its SAVEPOINT was not set, so the name refers to an
// earlier one and the first statement undoes the try. If the previous try succeeded,
// the first statement undoes nothing.
type pipeline struct {
	conn       *pgx.Conn
	statements map[string]*pgconn.StatementDescription // by their SQL text
	id         uint64                                  // part of the statement names, because other clients of a pooler may have statements too
	built      pgx.ExtendedQueryBuilder
	open       bool // there is a savepoint to roll back to
}

func newPipeline(conn *pgx.Conn) *pipeline {
	return &pipeline{conn: conn, statements: make(map[string]*pgconn.StatementDescription), id: rand.Uint64()}
}

// try runs tries. It returns the result of each: nil, or an error from PostgreSQL.
// Until the next call, undo can undo all of them.
func (l *pipeline) try(ctx context.Context, tries [][]*pgx.QueuedQuery) ([]error, error) {
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

// undo undoes the last call of try.
func (l *pipeline) undo(ctx context.Context) error {
	_, err := l.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT tries")
	return err
}

// close deallocates the statements. If that fails, the transaction fails too.
func (l *pipeline) close(ctx context.Context) {
	p := l.conn.PgConn().StartPipeline(ctx)
	for _, s := range l.statements {
		p.SendDeallocate(s.Name)
	}
	_ = p.Sync()
	_ = p.Close()
}

// prepare prepares the new statements.
func (l *pipeline) prepare(ctx context.Context, tries [][]*pgx.QueuedQuery) error {
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

func (l *pipeline) plain(p *pgconn.Pipeline, sql string) { p.SendQueryParams(sql, nil, nil, nil, nil) }

func (l *pipeline) send(p *pgconn.Pipeline, q *pgx.QueuedQuery) error {
	s := l.statements[q.SQL]
	if err := l.built.Build(l.conn.TypeMap(), s, q.Arguments); err != nil {
		return err
	}
	p.SendQueryPrepared(s.Name, l.built.ParamValues, l.built.ParamFormats, l.built.ResultFormats)
	return nil
}

// results reads the results of n tries. The error does not belong to a try.
func (l *pipeline) results(p *pgconn.Pipeline, n int) ([]error, error) {
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

// segment reads results up to the next Sync. failed is the first error from PostgreSQL
// among them; broken is any other error, after which the connection can't be used.
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
