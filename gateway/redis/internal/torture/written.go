//go:build unix

package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// effects reads what the handlers have written. With a store, each step of a payment's history
// is an effect.
func (t *torture) effects(ctx context.Context) (effects, error) {
	found := effects{nonces: make(map[string][]string), balances: make(map[string]int64)}
	conn, err := pgx.Connect(ctx, t.database.url)
	if err != nil {
		return found, err
	}
	defer func() { _ = conn.Close(ctx) }()
	query := `SELECT key, nonce FROM effects`
	if t.cfg.Handler == withStore {
		query = `SELECT p.request, p.nonce FROM payments p JOIN pawl.transitions t ON t.machine = 'payment' AND t.entity = p.id`
	}
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return found, err
	}
	var key, nonce string
	_, err = pgx.ForEachRow(rows, []any{&key, &nonce}, func() error {
		found.nonces[key] = append(found.nonces[key], nonce)
		return nil
	})
	if err != nil {
		return found, err
	}
	if rows, err = conn.Query(ctx, `SELECT id, balance FROM wallets`); err != nil {
		return found, err
	}
	var balance int64
	_, err = pgx.ForEachRow(rows, []any{&key, &balance}, func() error {
		found.balances[key] = balance
		return nil
	})
	return found, err
}

// locksLeft waits for leases and idle transactions to end, and returns how many keys are
// still locked in Redis and in PostgreSQL.
func (t *torture) locksLeft(ctx context.Context) (n int, err error) {
	conn, err := pgx.Connect(ctx, t.database.url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`).Scan(&n); err != nil {
			return 0, err
		}
		locks, err := t.redisLocks(ctx)
		if n += locks; err != nil || n == 0 || time.Now().After(deadline) {
			return n, err
		}
		pause(ctx, 50*time.Millisecond, 100*time.Millisecond)
	}
}

// redisLocks returns the number of locks in Redis. They are shorter than responses.
func (t *torture) redisLocks(ctx context.Context) (n int, err error) {
	if t.redis == nil {
		return 0, nil
	}
	const count = `
local cursor, n = '0', 0
repeat
  local page = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    n = n + (redis.call('GETRANGE', key, 0, 0) == 'L' and 1 or 0)
  end
until cursor == '0'
return n`
	if err := t.order(ctx, "PING"); err != nil { // the client does not repeat a script if its connection was cut
		return 0, err
	}
	locks, err := t.admin.Do(ctx, t.admin.B().Eval().Script(count).Numkeys(0).Build()).AsInt64()
	return int(locks), err
}
