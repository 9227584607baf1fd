package main

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// poisons are toxics of toxiproxy, with their attributes.
var poisons = [][2]string{
	{"latency", `{"latency":100,"jitter":100}`},
	{"bandwidth", `{"rate":50}`}, // KB/s
	{"slicer", `{"average_size":50,"size_variation":40,"delay":500}`},
	{"timeout", `{"timeout":0}`}, // nothing arrives any more, and the connection stays open
	{"limit_data", `{"bytes":20000}`},
	{"reset_peer", `{"timeout":300}`},
}

func (t *torture) poisonLink(ctx context.Context) error {
	l := t.anyLink()
	p := poisons[rand.IntN(len(poisons))]
	if err := l.poison(p[0], p[1], rand.IntN(2) == 0); err != nil {
		return err
	}
	sleep(ctx, seconds(0.5, 8).draw())
	l.heal(context.WithoutCancel(ctx))
	return nil
}

func (t *torture) cutLink(context.Context) error { return t.anyLink().cut() }

func (t *torture) fillPool(ctx context.Context) error {
	m := t.anyone()
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.process.ready:
		return m.signal(syscall.SIGUSR1)
	case <-ctx.Done():
		return nil
	}
}

// fillServer takes all free connections of the server.
func (t *torture) fillServer(ctx context.Context) error {
	t.database.mu.Lock()
	defer t.database.mu.Unlock()
	var conns []*pgx.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close(context.WithoutCancel(ctx)) // it may be broken
		}
	}()
	for {
		conn, err := pgx.Connect(ctx, t.database.url(""))
		if err != nil { // it is full, or down
			break
		}
		conns = append(conns, conn)
	}
	sleep(ctx, seconds(1, 4).draw())
	return nil
}

func (t *torture) lockRows(ctx context.Context) error {
	rows := `SELECT FROM torture.accounts WHERE id LIKE 'bank-%' OR state = 'active' ORDER BY random() LIMIT 50 FOR UPDATE`
	if rand.IntN(3) == 0 {
		rows = `SELECT FROM torture.wallets ORDER BY random() LIMIT 5 FOR UPDATE`
	}
	return t.lock(ctx, rows, seconds(0.5, 8))
}

func (t *torture) lockHistory(ctx context.Context) error {
	return t.lock(ctx, `LOCK TABLE pawl.transitions IN SHARE MODE`, seconds(0.2, 3))
}

// lock holds locks for a while, if it can get them.
func (t *torture) lock(ctx context.Context, sql string, hold span) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	t.database.mu.Lock()
	url := t.database.url("")
	t.database.mu.Unlock()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // closing releases everything it holds
	if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
		return nil
	}
	if _, err := conn.Exec(ctx, tenants[rand.IntN(len(tenants))].sql(sql)); err != nil {
		return nil
	}
	sleep(ctx, hold.draw())
	_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK") // as above
	return nil
}
