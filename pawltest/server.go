package pawltest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testdb"
)

// A server is a PostgreSQL server for the tests of this process.
type server struct {
	url   string
	token string // in the names of all databases of this process
	stop  func() error

	mu        sync.Mutex // guards the fields below
	conn      *pgx.Conn  // says that the process lives, and makes databases
	count     int
	templates []string
}

// current is the server in use. It is global because all tests of a process share it.
var current struct {
	sync.Mutex

	server *server
	err    error // why there is none; it is not tried again
}

// theServer returns the server. The first call starts it.
func theServer() (*server, error) {
	current.Lock()
	defer current.Unlock()
	if current.server == nil && current.err == nil {
		current.server, current.err = openServer()
	}
	return current.server, current.err
}

// ClosePostgres ends what [Postgres] has started: it drops the templates and stops the server, if
// this process has started it. Call it in TestMain after the tests have run:
//
//	func TestMain(m *testing.M) {
//		code := m.Run()
//		if err := pawltest.ClosePostgres(); err != nil {
//			log.Print(err)
//		}
//		os.Exit(code)
//	}
//
// Without it nothing is left for long either: on Linux the kernel stops the server when the process
// ends, and the next process that calls Postgres removes the data and the databases of those that
// have ended.
func ClosePostgres() error {
	current.Lock()
	defer current.Unlock()
	s := current.server
	current.server, current.err = nil, nil
	if s == nil {
		return nil
	}
	if err := s.close(); err != nil {
		return fmt.Errorf("close the PostgreSQL of the tests: %w", err)
	}
	return nil
}

// tokenPrefix begins the names of all databases, and the application_name of the connection that
// shows that their process lives.
const tokenPrefix = "pawltest_"

// connectTimeout limits how long the server of DATABASE_URL may take to answer.
const connectTimeout = 15 * time.Second

func openServer() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	s := &server{url: os.Getenv("DATABASE_URL"), token: tokenPrefix + strings.ToLower(rand.Text()[:10]), stop: func() error { return nil }}
	if s.url == "" {
		started, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{})
		if err != nil {
			return nil, fmt.Errorf("get a PostgreSQL server; set DATABASE_URL to use a running one: %w", err)
		}
		s.url, s.stop = started.URL(), started.Close
	}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the PostgreSQL server of the tests: %w", err), s.stop())
	}
	if err := s.sweep(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("drop the databases of tests that have ended: %w", err), s.close())
	}
	return s, nil
}

// connect opens the connection that shows that this process lives.
func (s *server) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	config, err := pgx.ParseConfig(s.url)
	if err != nil {
		return err
	}
	config.RuntimeParams["application_name"] = s.token
	s.conn, err = pgx.ConnectConfig(ctx, config)
	return err
}

// orphansSQL returns the databases of this role whose process has ended: it has no connection with
// the token that begins their name. A role sees the names of its own connections.
const orphansSQL = `
SELECT d.datname FROM pg_catalog.pg_database AS d
WHERE d.datname ~ '^pawltest_[a-z0-9]{10}_' AND pg_catalog.pg_get_userbyid(d.datdba) = current_user
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a WHERE a.application_name = pg_catalog.substr(d.datname, 1, 19))`

// sweep drops what processes have left that were killed, or that have not called ClosePostgres.
func (s *server) sweep(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, orphansSQL)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := testdb.Drop(s.url, name); err != nil {
			return err
		}
	}
	return nil
}

// name returns a new name for a database.
func (s *server) name(hint string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	return fmt.Sprintf("%s_%d_%s", s.token, s.count, testdb.Slug(hint))
}

// create copies a template. Copies are made one after the other, on one connection.
func (s *server) create(ctx context.Context, name, template string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return testdb.CreateOn(ctx, s.conn, name, template)
}

// onClose drops a template in the end.
func (s *server) onClose(template string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.templates = append(s.templates, template)
}

func (s *server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	var problems []error
	for _, name := range s.templates {
		problems = append(problems, testdb.Drop(s.url, name))
	}
	return errors.Join(append(problems, s.conn.Close(ctx), s.stop())...)
}
