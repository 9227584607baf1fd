//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A result is the last line of the output.
type result struct {
	OK           bool           `json:"ok"`
	Requests     int            `json:"requests"`
	Sends        int            `json:"sends"`   // by the clients
	Repeats      int            `json:"repeats"` // answers that were compared with the first one
	Effects      int            `json:"effects"`
	Refused      int            `json:"refused"`
	Twice        int            `json:"twice"` // requests that took effect more than once
	Lost         int            `json:"lost"`  // requests with a response but without effect
	Different    int            `json:"different"`
	Stuck        int            `json:"stuck"`
	LocksLeft    int            `json:"locks_left"`
	Faults       map[string]int `json:"faults"`
	Seconds      float64        `json:"seconds"`
	AgainSeconds float64        `json:"again_seconds"`
	Seed         uint64         `json:"seed"`
}

// check compares the ledger with what the handlers have written.
func (t *torture) check(ctx context.Context, l *ledger, r *result) (violations []string, err error) {
	nonces, err := t.effects(ctx)
	if err != nil {
		return nil, err
	}
	r.Requests = len(l.entries)
	for _, e := range l.entries {
		r.Sends += e.sends
		r.Repeats += e.repeat
		violations = append(violations, e.judge(nonces[e.payment.ID], r)...)
		r.Effects += len(nonces[e.payment.ID])
		delete(nonces, e.payment.ID)
	}
	for key := range nonces {
		violations = append(violations, fmt.Sprintf("key %s took effect, and nobody has sent it", key))
	}
	if r.LocksLeft, err = t.locksLeft(ctx); err != nil {
		return nil, err
	}
	if r.LocksLeft > 0 {
		violations = append(violations, fmt.Sprintf("%d keys are locked although nothing runs", r.LocksLeft))
	}
	for name, happened := range r.Faults {
		if happened == 0 {
			violations = append(violations, "the fault did not happen: "+name)
		}
	}
	return violations, nil
}

// judge returns what contradicts the promise for one request, whose effects have the nonces.
func (e *entry) judge(nonces []string, r *result) []string {
	violations := e.wrong
	r.Different += len(e.wrong)
	say := func(format string, args ...any) {
		violations = append(violations, fmt.Sprintf("request %s: ", e.payment.ID)+fmt.Sprintf(format, args...))
	}
	if len(nonces) > 1 {
		r.Twice++
		say("took effect %d times", len(nonces))
	}
	if e.stuck != nil {
		r.Stuck++
		say("%v", e.stuck)
	}
	switch {
	case e.first == nil:
	case e.payment.Refuse:
		r.Refused++
		if e.first.status != http.StatusPaymentRequired || len(nonces) > 0 {
			say("was to be refused, was answered with %d, and took effect %d times", e.first.status, len(nonces))
		}
	case e.first.status != http.StatusCreated:
		say("was answered with %d", e.first.status)
	case len(nonces) == 0:
		r.Lost++
		say("has a response and no effect")
	case !strings.Contains(e.first.body, nonces[0]) || !strings.HasSuffix(e.first.location, nonces[0]):
		say("its response is not that of its effect")
	}
	return violations
}

// effects returns what the handlers have written, by key.
func (t *torture) effects(ctx context.Context) (map[string][]string, error) {
	conn, err := pgx.Connect(ctx, t.database.url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT key, nonce FROM effects`)
	if err != nil {
		return nil, err
	}
	found := make(map[string][]string)
	var key, nonce string
	_, err = pgx.ForEachRow(rows, []any{&key, &nonce}, func() error {
		found[key] = append(found[key], nonce)
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
