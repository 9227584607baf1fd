package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout limits a start whose context has no deadline. Most of it is
	// for a download.
	startTimeout = 5 * time.Minute

	// stopTimeout is how long a server may take to stop before it is killed.
	// PostgreSQL itself kills its remaining processes after five seconds.
	stopTimeout = 10 * time.Second
)

// Postgres is a PostgreSQL server that belongs to this process. Its methods are
// safe for concurrent use.
type Postgres struct {
	cfg     PostgresConfig
	account *account
	binDir  string
	dir     *workdir

	mu       sync.Mutex // guards the fields below
	password string
	port     int
	version  string
	server   *process // nil, and port 0, before the first start
	closed   bool
}

// StartPostgres creates an empty server and returns when it accepts
// connections, usually after about a second. The caller must close it. If this
// process dies first, the kernel stops the server (on Linux).
//
// ctx limits only the start. If it has no deadline, the start may take up to
// five minutes, for a download. The error wraps [ErrNoServer] if there is no
// server program, and a [*ServerError] if the server did not start.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	ctx, cancel := withDeadline(ctx, startTimeout)
	defer cancel()
	s, err := newPostgres(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := s.create(ctx); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// newPostgres prepares a server and does not start anything yet.
func newPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	a, err := serverAccount()
	if err != nil {
		return nil, err
	}
	binDir, err := cfg.binaries(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.reachable(binDir); err != nil {
		return nil, fmt.Errorf("use the programs in %s: %w", binDir, err)
	}
	dir, err := newWorkdir(a, cfg.tempDirs())
	if err != nil {
		return nil, err
	}
	return &Postgres{cfg: cfg, account: a, binDir: binDir, dir: dir}, nil
}

func (s *Postgres) create(ctx context.Context) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.password, err = s.initdb(ctx); err != nil {
		return err
	}
	return s.startAnywhere(ctx)
}

// URL returns the superuser's connection string for the database postgres. It
// does not change when the server restarts.
func (s *Postgres) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url()
}

func (s *Postgres) url() string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Version returns the server's version, such as "15.18".
func (s *Postgres) Version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	version, _, _ := strings.Cut(s.version, " ") // distributions append their name
	return version
}

// BinDir returns the directory of the server's programs.
func (s *Postgres) BinDir() string { return s.binDir }

// PID returns the process ID of the server, or 0 if it is not running.
func (s *Postgres) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil || s.server.ended() {
		return 0
	}
	return s.server.cmd.Process.Pid
}

// Kill stops the server as a crash would: all connections break, nothing is
// flushed, and the next start recovers from the WAL. It returns when the server
// is gone. It does nothing if the server is not running.
func (s *Postgres) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("kill PostgreSQL: %w", ErrClosed)
	}
	s.stop()
	return nil
}

// Restart restarts the server on the same data and port, and returns when it
// accepts connections. It kills a running server first. A server that has not
// run yet gets a port.
func (s *Postgres) Restart(ctx context.Context) error {
	ctx, cancel := withDeadline(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("restart PostgreSQL: %w", ErrClosed)
	}
	s.stop()
	if s.port == 0 {
		return s.startAnywhere(ctx)
	}
	if err := s.startOn(ctx, s.port); err != nil {
		return fmt.Errorf("restart PostgreSQL on port %d: %w", s.port, err)
	}
	return nil
}

// Close stops the server and removes its data. It can be called more than once.
func (s *Postgres) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.stop()
	if err := s.dir.remove(); err != nil {
		return fmt.Errorf("remove the data of PostgreSQL: %[2]w; delete %[1]s by hand", s.dir.path, err)
	}
	return nil
}

// stop does an immediate shutdown, in PostgreSQL's terms.
func (s *Postgres) stop() {
	if s.server == nil || s.server.ended() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	s.server.stop(ctx, syscall.SIGQUIT)
}

// withDeadline adds a timeout to ctx unless it has a deadline.
func withDeadline(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
