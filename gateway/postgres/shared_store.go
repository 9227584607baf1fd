package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/gateway"
)

// A storing is a response that is to be stored.
type storing struct {
	id       id
	response []byte
	done     chan struct{}
	err      error // after done
}

// storeTimeout limits a transaction that stores responses.
const storeTimeout = 30 * time.Second

// store stores responses in one transaction, which is one statement. A response that another
// process has stored first stays; the primary key decides. If a batch has several for one key,
// the first one is stored: the middleware has given up the others' runs while the server was
// slow, but their responses were still waiting.
func (s *shared) store(batch []*storing) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	firsts := make(map[id]*storing, len(batch))
	var ids, responses [][]byte
	for _, st := range batch {
		if firsts[st.id] == nil {
			firsts[st.id] = st
			ids, responses = append(ids, st.id[:]), append(responses, st.response)
		}
	}
	stored, err := s.insert(ctx, ids, responses)
	for _, st := range batch {
		switch _, ok := stored[st.id]; {
		case err != nil:
			st.err = err
		case !ok || firsts[st.id] != st:
			st.err = gateway.ErrTaken
		}
		close(st.done)
	}
}

// insert returns the IDs of the responses that were inserted. The IDs differ. Usually none of them
// has a row, and then an INSERT costs less if it need not expect one.
func (s *shared) insert(ctx context.Context, ids, responses [][]byte) (map[id]struct{}, error) {
	conn, err := s.b.pool.Acquire(ctx)
	if err != nil {
		return nil, s.b.unavailable(fmt.Errorf("connect to store responses: %w", err))
	}
	defer conn.Release()
	if len(ids) == 1 {
		_, err = conn.Exec(ctx, s.b.sql.insert, s.b.alone, ids[0], responses[0], s.b.cfg.TTL)
	} else {
		_, err = conn.Exec(ctx, s.b.sql.insertAll, s.b.alone, ids, responses, s.b.cfg.TTL)
	}
	if isCode(err, uniqueViolation) {
		var rows pgx.Rows
		if rows, err = conn.Query(ctx, s.b.sql.insertAllOr, s.b.alone, ids, responses, s.b.cfg.TTL); err == nil {
			ids, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
		}
	}
	if err == nil {
		stored := make(map[id]struct{}, len(ids))
		for _, one := range ids {
			stored[id(one)] = struct{}{}
		}
		return stored, nil
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.SeverityUnlocalized == "ERROR" || pgconn.SafeToRetry(err) {
		return nil, s.b.failed(ctx, fmt.Errorf("store responses: %w", err))
	}
	return nil, fmt.Errorf("%w: store responses: %w", gateway.ErrFateUnknown, err)
}
