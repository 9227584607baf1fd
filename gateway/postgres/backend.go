package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/migrations"
)

// A Backend stores responses in PostgreSQL, and gives each handler a transaction in which its
// response is stored. It is safe for concurrent use, by any number of processes.
type Backend struct {
	pool   *pgxpool.Pool
	cfg    Config
	sql    statements
	alone  pgx.QueryExecMode // of statements outside a transaction
	locks  uint64            // distinguishes the advisory locks of the schema
	slots  chan struct{}     // one for each request that runs
	looks  gatherer[*look]
	shared *shared

	mu      sync.Mutex
	claimed map[id]struct{} // the keys that this process has claimed, or is about to
	renewed time.Time       // when the pool's connections were last replaced
}

// An id is the hash of a key, under which its response is stored.
type id = [sha256.Size]byte

// Open returns a backend that uses the pool. It checks the configuration, the version of the
// framework's schema ([migrations.SchemaError]) and the role's rights, and reports all
// problems. The pool belongs to the caller.
//
// The role needs no more than
//
//	GRANT USAGE ON SCHEMA pawl TO api;
//	GRANT SELECT ON pawl.goose_db_version TO api;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON pawl.responses TO api;
func Open(ctx context.Context, pool *pgxpool.Pool, cfg Config) (*Backend, error) {
	cfg = cfg.withDefaults(pool)
	if err := cfg.validate(pool); err != nil {
		return nil, fmt.Errorf("open gateway: %w", err)
	}
	b := &Backend{
		pool: pool, cfg: cfg, sql: statementsFor(migrations.Schema(cfg.Schema)), alone: pool.Config().ConnConfig.DefaultQueryExecMode,
		slots: make(chan struct{}, cfg.MaxRunning), claimed: make(map[id]struct{}),
	}
	if b.alone == pgx.QueryExecModeDescribeExec {
		b.alone = pgx.QueryExecModeExec // behind a pooler, the second of two messages could reach another session
	}
	b.looks = gatherer[*look]{work: b.lookupAll, most: maxLooks, room: maxClaims, limit: func(*look) int { return 1 }}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("pawl: the requests of schema " + migrations.Schema(cfg.Schema).String())) // never fails
	b.locks = hash.Sum64()
	b.shared = newShared(b)
	if err := b.check(ctx); err != nil {
		return nil, fmt.Errorf("open gateway: %w", err)
	}
	return b, nil
}

// responsesSince is the version of the schema that has the table responses.
const responsesSince = 6

// check checks the schema and the role's rights.
func (b *Backend) check(ctx context.Context) error {
	schema := migrations.Schema(b.cfg.Schema)
	if err := schema.Check(ctx, b.pool); err != nil {
		return err
	}
	table := schema.SQL("pawl.responses")
	var exists bool
	if err := b.pool.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, pgx.QueryExecModeExec, table).Scan(&exists); err != nil {
		return fmt.Errorf("look for table %s: %w", table, err)
	}
	if !exists {
		return &migrations.SchemaError{Schema: schema, Have: responsesSince - 1, Want: responsesSince}
	}
	const rights = `
SELECT r, current_user FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS u(r) WHERE NOT has_table_privilege($1, r)`
	rows, err := b.pool.Query(ctx, rights, pgx.QueryExecModeExec, table)
	if err != nil {
		return fmt.Errorf("read the privileges on %s: %w", table, err)
	}
	var right, user string
	var problems []error
	_, err = pgx.ForEachRow(rows, []any{&right, &user}, func() error {
		problems = append(problems, fmt.Errorf("%w: role %s lacks %s on %s; GRANT it", ErrRights, user, right, table))
		return nil
	})
	return errors.Join(append(problems, err)...)
}

// ErrRights matches an error of [Open] if the role lacks a privilege.
var ErrRights = errors.New("missing privilege")

// Begin claims a key; see [gateway.Backend]. A repeat costs one SELECT, which those that come
// at the same time share. The run holds a
// connection until it ends, in a transaction that has locked the key.
func (b *Backend) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	id := key.ID()
	if b.isClaimed(id) {
		return nil, nil, b.inProgress()
	}
	stored, err := b.lookup(ctx, id)
	if stored != nil || err != nil {
		return nil, stored, err
	}
	if !b.claim(id) {
		return nil, nil, b.inProgress()
	}
	run := &run{b: b, id: id, state: claimed}
	stored, err = run.begin(ctx)
	if stored != nil || err != nil {
		run.free()
		return nil, stored, err
	}
	return run, nil, nil
}

// claim reserves a key in this process. It returns false if it is reserved already. It keeps
// requests with one key from waiting for connections only to find the key locked.
func (b *Backend) claim(id id) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.claimed[id]; taken {
		return false
	}
	b.claimed[id] = struct{}{}
	return true
}

func (b *Backend) isClaimed(id id) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, claimed := b.claimed[id]
	return claimed
}

func (b *Backend) unclaim(id id) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.claimed, id)
}

// renewEvery limits how often connections are replaced: the server may be read-only for new
// ones, too.
const renewEvery = time.Second

// renew replaces all connections, because the server is read-only for one. After a failover,
// the pool may be full of connections to a server that is read-only for old sessions but
// accepts writes in new ones. That of the keeper is replaced at once, with the locks that it
// holds: they exclude nobody who is connected to another server.
func (b *Backend) renew() {
	b.mu.Lock()
	early := time.Since(b.renewed) < renewEvery
	if !early {
		b.renewed = time.Now()
	}
	b.mu.Unlock()
	if early {
		return
	}
	b.pool.Reset() // those in use are closed when they come back
	b.shared.keeper.renew()
}

// enter waits for a slot.
func (b *Backend) enter(ctx context.Context) error {
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(b.cfg.QueueTimeout)
	defer timer.Stop()
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return b.unavailable(fmt.Errorf("%w: MaxRunning is %d", errBusy, b.cfg.MaxRunning))
	}
}

var errBusy = errors.New("as many requests are running as may run at a time")

// lockKey returns the number of a key's advisory lock. Two keys have the same with a
// probability of 2^-64; then they exclude each other.
func (b *Backend) lockKey(id id) int64 { return int64(binary.LittleEndian.Uint64(id[:]) ^ b.locks) }

func (b *Backend) inProgress() error {
	return &gateway.InProgressError{RetryAfter: b.cfg.RetryAfter}
}

func (b *Backend) unavailable(err error) error {
	return &gateway.UnavailableError{RetryAfter: b.cfg.RetryAfter, Err: err}
}
