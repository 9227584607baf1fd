package contend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// connections is the number of connections a worker uses for a batch by
// default.
const connections = 4

// recordPawl runs a worker and records every byte it sends to PostgreSQL. Its
// batches are those of the default worker. A stable hash assigns entities to
// connections, so that no connection waits for another when the recordings are
// replayed.
func recordPawl(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) (err error) {
	store := &recordingStore{seed: maphash.MakeSeed()}
	for i := range connections {
		r, err := newRecorder(ctx, job, machine, i)
		if err != nil {
			return err
		}
		store.recorders = append(store.recorders, r)
	}
	store.Store = store.recorders[0].store
	config := workerConfig(job, store, m)
	config.Connections = 1 // the store uses several itself
	config.SweepEvery = -1 // a replay has no time for a sweep
	worker, err := consumer.New(config)
	if err != nil {
		return err
	}
	err = worker.Run(ctx)
	for _, r := range store.recorders {
		err = errors.Join(err, r.close())
	}
	return err
}

// A recorder is a store with one connection that is recorded.
type recorder struct {
	pool  *pgxpool.Pool
	table postgres.Table
	store *postgres.Store
	on    atomic.Bool
	file  *os.File
	lines *bufio.Writer
}

func recording(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("connection-%d", i))
}

func newRecorder(ctx context.Context, job Job, machine *statemachine.Machine, i int) (*recorder, error) {
	config, err := pgxpool.ParseConfig(job.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	r := &recorder{}
	if r.file, err = os.Create(recording(job.Recording, i)); err != nil {
		return nil, fmt.Errorf("record statements: %w", err)
	}
	r.lines = bufio.NewWriterSize(r.file, 1<<20)
	config.MaxConns = 1
	config.ConnConfig.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
		return &tap{Conn: conn, on: &r.on, file: r.lines}, nil
	}
	if r.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	r.table = postgres.Table{Machine: machine, Name: table}
	err = r.open(ctx)
	return r, err
}

// open opens a store that remembers no rows. One that does sends the numbers of the transactions
// that have written them, which are others in a replay.
func (r *recorder) open(ctx context.Context) (err error) {
	r.on.Store(false)
	r.store, err = postgres.Open(ctx, r.pool, r.table)
	r.on.Store(true)
	return err
}

func (r *recorder) close() error {
	r.on.Store(false)
	r.pool.Close()
	return errors.Join(r.lines.Flush(), r.file.Close())
}

// A recordingStore distributes the records of a batch to its recorders, by
// entity.
type recordingStore struct {
	*postgres.Store // for Prepare

	seed      maphash.Seed
	recorders []*recorder
}

func (s *recordingStore) Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	n := len(s.recorders)
	lists, index := make([][]*versioning.Record, n), make([][]int, n)
	for i, r := range records {
		list := int(maphash.String(s.seed, r.Changes[0].Key) % uint64(n))
		lists[list] = append(lists[list], r)
		index[list] = append(index[list], i)
	}
	outcomes := make([]versioning.Outcome, len(records))
	group, ctx := errgroup.WithContext(ctx)
	for i, r := range s.recorders {
		group.Go(func() error {
			if err := r.open(ctx); err != nil {
				return err
			}
			result, err := r.store.Apply(ctx, on, lists[i])
			for j, outcome := range result.Outcomes {
				outcomes[index[i][j]] = outcome
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return versioning.Result{}, err
	}
	return versioning.Result{Outcomes: outcomes}, nil
}
