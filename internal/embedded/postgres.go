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
	// startTimeout bounds a start whose context has no deadline. Most of it
	// is for a download.
	startTimeout = 5 * time.Minute

	// stopTimeout is how long a server may take to stop before it is killed.
	// PostgreSQL itself kills what is left of it after five seconds.
	stopTimeout = 10 * time.Second
)

// Postgres is a PostgreSQL server that belongs to this process. Its methods
// may be called from several goroutines.
type Postgres struct {
	cfg     PostgresConfig
	account *account
	binDir  string
	dir     *workdir

	mu       sync.Mutex // guards what follows
	password string
	port     int
	version  string
	server   *process // nil before the first start, as port is 0
	closed   bool
}

// StartPostgres creates an empty server and returns when it takes connections,
// which takes about a second. The caller closes it; if this process dies
// first, the kernel stops the server (on Linux).
//
// The context bounds the start only. Without a deadline the start may take
// five minutes, for a download. An error is an [ErrNoServer] where there is no
// server to be had, and carries a [*ServerError] where it would not start.
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

// newPostgres finds what a server needs and runs nothing yet.
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

// URL returns the connection string of the superuser for the database
// postgres. It stays the same when the server is restarted.
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
	version, _, _ := strings.Cut(s.version, " ") // distributions add their name
	return version
}

// BinDir returns the folder that the server's programs came from.
func (s *Postgres) BinDir() string { return s.binDir }

// PID returns the process id of the server, or 0 while it is not running.
func (s *Postgres) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil || s.server.ended() {
		return 0
	}
	return s.server.cmd.Process.Pid
}

// Kill stops the server as a crash would: every connection breaks, nothing is
// written down, and the next start recovers from the log. It returns when the
// server is gone. Killing a server that is not running does nothing.
func (s *Postgres) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("kill PostgreSQL: %w", ErrClosed)
	}
	s.stop()
	return nil
}

// Restart starts the server again on the same data and port, and returns when
// it takes connections. A server that is running is killed first; one that has
// not run yet gets a port.
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

// Close stops the server and removes its data. Closing twice does nothing.
func (s *Postgres) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.stop()
	if err := s.dir.remove(); err != nil {
		return fmt.Errorf("remove the data of PostgreSQL; delete %s by hand: %w", s.dir.path, err)
	}
	return nil
}

// stop ends the server in the way that PostgreSQL calls immediate.
func (s *Postgres) stop() {
	if s.server == nil || s.server.ended() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	s.server.stop(ctx, syscall.SIGQUIT)
}

// withDeadline bounds ctx by a timeout where it has no deadline of its own.
func withDeadline(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
