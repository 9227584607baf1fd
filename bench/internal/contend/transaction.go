package contend

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// connect opens a pool and all of its connections, so that none connects while
// the clock runs.
func connect(ctx context.Context, url string, connections int) (*pgxpool.Pool, error) {
	return connectWith(ctx, url, connections, nil)
}

// connectWith is connect with settings for the sessions.
func connectWith(ctx context.Context, url string, connections int, settings map[string]string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	maps.Copy(config.ConnConfig.RuntimeParams, settings)
	config.MaxConns = int32(connections)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	var open []*pgxpool.Conn
	for range connections {
		var conn *pgxpool.Conn
		if conn, err = pool.Acquire(ctx); err != nil {
			break
		}
		open = append(open, conn)
	}
	for _, conn := range open {
		conn.Release()
	}
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	return pool, nil
}

// errIllegal means that an entity cannot take a message. It does not occur in
// the measured traffic.
var errIllegal = errors.New("message is not legal")

// A transactor applies one message per transaction, as people do by hand: read
// the row, decide, update it if it has not changed, insert a row of history.
type transactor struct {
	pool       *pgxpool.Pool
	decide     decider
	statements statements
}

func newTransactor(pool *pgxpool.Pool, machine *statemachine.Machine) transactor {
	return transactor{pool, decide(machine), statementsFor(machine.Name())}
}

func (t *transactor) apply(ctx context.Context, id string, message *traffic.Message) error {
	tx, err := t.pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	done, err := t.write(ctx, tx, id, message)
	if err != nil || !done {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// write returns false if the message is a duplicate.
func (t *transactor) write(ctx context.Context, tx pgx.Tx, id string, message *traffic.Message) (bool, error) {
	var from row
	err := tx.QueryRow(ctx, t.statements.read, message.Key).Scan(t.statements.destinations(&from)...)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, fmt.Errorf("read the row: %w", err)
	}
	to, legal := t.decide(from, message)
	if !legal {
		return false, t.explain(ctx, tx, id, message)
	}
	query, args := t.statements.write(message, &from, &to)
	tag, err := tx.Exec(ctx, query, args...)
	if err != nil {
		return false, fmt.Errorf("write the row: %w", err)
	}
	if tag.RowsAffected() != 1 {
		return false, fmt.Errorf("another writer changed the row of %s", message.Key)
	}
	if tag, err = tx.Exec(ctx, t.statements.noted, t.statements.note(id, message, &from, &to)...); err != nil {
		return false, fmt.Errorf("insert history: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// explain returns an error unless the message was already applied.
func (t *transactor) explain(ctx context.Context, tx pgx.Tx, id string, message *traffic.Message) error {
	var known bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM order_history WHERE order_id = $1 AND message_id = $2)`,
		message.Key, id).Scan(&known)
	if err != nil {
		return fmt.Errorf("look up the message: %w", err)
	}
	if !known {
		return fmt.Errorf("%w: %s of %s", errIllegal, message.Event, message.Key)
	}
	return nil
}
