package embedded_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/internal/embedded"
)

func start(t *testing.T, cfg embedded.PostgresConfig) *embedded.Postgres {
	t.Helper()
	server, err := embedded.StartPostgres(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func connect(t *testing.T, server *embedded.Postgres) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // it may be broken
	return conn
}

func show(t *testing.T, conn *pgx.Conn, settings ...string) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, name := range settings {
		var value string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
			t.Fatal(err)
		}
		values[name] = value
	}
	return values
}

func TestStartPostgresSettings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg  embedded.PostgresConfig
		want map[string]string
	}{
		"fast": {
			cfg:  embedded.PostgresConfig{MaxConnections: 17, Settings: map[string]string{"work_mem": "5MB"}},
			want: map[string]string{"fsync": "off", "synchronous_commit": "on", "max_connections": "17", "work_mem": "5MB"},
		},
		"durable": {
			cfg:  embedded.PostgresConfig{Durable: true},
			want: map[string]string{"fsync": "on", "synchronous_commit": "on", "max_connections": "200", "work_mem": "4MB"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := connect(t, start(t, test.cfg))
			test.want["server_encoding"] = "UTF8"
			test.want["lc_messages"] = "C"
			test.want["listen_addresses"] = "127.0.0.1"
			test.want["unix_socket_directories"] = ""
			got := show(t, conn, "fsync", "synchronous_commit", "max_connections", "work_mem",
				"server_encoding", "lc_messages", "listen_addresses", "unix_socket_directories")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPostgresRequiresPassword(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.PostgresConfig{})
	config, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	config.Password = "guessed"
	var refusal *pgconn.PgError
	if _, err := pgx.ConnectConfig(t.Context(), config); !errors.As(err, &refusal) || refusal.Code != "28P01" {
		t.Errorf("connect with a wrong password: %v, want SQLSTATE 28P01", err)
	}
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.PostgresConfig{})
	url, conn := server.URL(), connect(t, server)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 42 AS n"); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if pid := server.PID(); pid != 0 {
		t.Errorf("PID of a killed server is %d, want 0", pid)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection works after the server was killed")
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if server.URL() != url {
		t.Errorf("the restart moved the server from %s to %s", url, server.URL())
	}
	var n int
	if err := connect(t, server).QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n); err != nil || n != 42 {
		t.Errorf("after the restart: %d, %v, want 42", n, err)
	}
}

func TestRestartOfRunningServer(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.PostgresConfig{})
	before := server.PID()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := server.PID(); after == before || after == 0 {
		t.Errorf("restart did not start a new process: pid %d, before %d", after, before)
	}
}

func TestRestartOnPortInUse(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.PostgresConfig{})
	config, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(config.Port)})
	if err != nil {
		t.Fatal(err)
	}
	var failure *embedded.ServerError
	if err := server.Restart(t.Context()); !errors.As(err, &failure) {
		t.Errorf("restart on a port in use: %v, want a ServerError", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Errorf("restart on the port after it was freed: %v", err)
	}
}

func TestCloseTwice(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.PostgresConfig{})
	for range 2 {
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := server.Kill(); !errors.Is(err, embedded.ErrClosed) {
		t.Errorf("kill after close: %v, want ErrClosed", err)
	}
	if err := server.Restart(t.Context()); !errors.Is(err, embedded.ErrClosed) {
		t.Errorf("restart after close: %v, want ErrClosed", err)
	}
}

func TestCloseRemovesData(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	server := start(t, embedded.PostgresConfig{TempDir: dir})
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("files left after Close: %v, %v", left, err)
	}
}

// openDir returns a temporary directory that every user can enter. t.TempDir
// does not allow that.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pawl-test-") //nolint:usetesting // other users cannot enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStartFailureCarriesLog(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	cfg := embedded.PostgresConfig{TempDir: dir, Settings: map[string]string{"work_mem": "plenty"}}
	_, err := embedded.StartPostgres(t.Context(), cfg)
	var failure *embedded.ServerError
	if !errors.As(err, &failure) {
		t.Fatalf("start with a bad setting: %v, want a ServerError", err)
	}
	if filepath.Base(failure.Program) != "postgres" || !strings.Contains(failure.Log, "work_mem") {
		t.Errorf("the error does not name the program and the setting: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("files left after a failed start: %v", left)
	}
}

func TestStartCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("start with a cancelled context: %v", err)
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{BinDir: t.TempDir()})
	if !errors.Is(err, embedded.ErrNoServer) {
		t.Errorf("start from an empty directory: %v, want ErrNoServer", err)
	}
}

func TestContradictoryConfig(t *testing.T) {
	t.Parallel()
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{BinDir: "/somewhere", Download: true})
	if err == nil || !strings.Contains(err.Error(), "BinDir") {
		t.Errorf("start with BinDir and Download: %v", err)
	}
}
