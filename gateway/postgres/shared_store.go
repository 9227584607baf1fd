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
// process has stored first stays; the primary key decides.
func (s *shared) store(batch []*storing) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	stored, err := s.insert(ctx, batch)
	for _, st := range batch {
		switch _, ok := stored[st.id]; {
		case err != nil:
			st.err = err
		case !ok:
			st.err = gateway.ErrTaken
		}
		close(st.done)
	}
}

// insert returns the IDs of the responses that were inserted.
func (s *shared) insert(ctx context.Context, batch []*storing) (map[id]struct{}, error) {
	ids, responses := make([][]byte, len(batch)), make([][]byte, len(batch))
	for i, st := range batch {
		ids[i], responses[i] = st.id[:], st.response
	}
	conn, err := s.b.pool.Acquire(ctx)
	if err != nil {
		return nil, s.b.unavailable(fmt.Errorf("connect to store responses: %w", err))
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, s.b.sql.insertAll, s.b.alone, ids, responses, s.b.cfg.TTL)
	stored := make(map[id]struct{}, len(batch))
	if err == nil {
		var one []byte
		_, err = pgx.ForEachRow(rows, []any{&one}, func() error {
			stored[id(one)] = struct{}{}
			return nil
		})
	}
	if err == nil {
		return stored, nil
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.SeverityUnlocalized == "ERROR" || pgconn.SafeToRetry(err) {
		return nil, s.b.failed(ctx, fmt.Errorf("store responses: %w", err))
	}
	return nil, fmt.Errorf("%w: store responses: %w", gateway.ErrFateUnknown, err)
}
