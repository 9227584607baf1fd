package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A look is a key whose stored response somebody looks for.
type look struct {
	id       id
	done     chan struct{}
	response []byte
	err      error // after done
}

// maxLooks is how many connections look for responses at a time.
const maxLooks = 2

// lookup returns the stored response of a key, or nil if there is none. Concurrent calls share
// statements.
func (b *Backend) lookup(ctx context.Context, id id) (response []byte, err error) {
	l := &look{id: id, done: make(chan struct{})}
	b.looks.add(l)
	select {
	case <-l.done:
		return l.response, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lookupAll looks for responses in one statement.
func (b *Backend) lookupAll(looks []*look) {
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.QueueTimeout)
	defer cancel()
	var err error
	if len(looks) == 1 {
		err = b.lookupOne(ctx, looks[0])
	} else {
		err = b.lookupMany(ctx, looks)
	}
	if err != nil {
		err = b.failed(context.Background(), fmt.Errorf("look for stored responses: %w", err))
	}
	for _, l := range looks {
		l.err = err
		close(l.done)
	}
}

func (b *Backend) lookupOne(ctx context.Context, l *look) error {
	err := b.pool.QueryRow(ctx, b.sql.lookup, b.alone, l.id[:]).Scan(&l.response)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

func (b *Backend) lookupMany(ctx context.Context, looks []*look) error {
	ids := make([][]byte, len(looks))
	for i, l := range looks {
		ids[i] = l.id[:]
	}
	rows, err := b.pool.Query(ctx, b.sql.lookupAll, b.alone, ids)
	if err != nil {
		return err
	}
	return eachOf(rows, func(i int, response []byte) { looks[i].response = response })
}

// eachOf reads a row for each element of an array: its number, from 1, and a value.
func eachOf[T any](rows pgx.Rows, use func(i int, value T)) error {
	var n int
	var value T
	_, err := pgx.ForEachRow(rows, []any{&n, &value}, func() error {
		use(n-1, value)
		var zero T
		value = zero
		return nil
	})
	return err
}
