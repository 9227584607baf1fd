package testenv

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/testdb"
)

// PgBouncer starts a PgBouncer in transaction mode on loopback, in front of the
// server of databaseURL. It returns a connection string that reaches the same
// database through it, and stops it when the test ends. It skips the test if
// PgBouncer is not installed.
func PgBouncer(tb testing.TB, databaseURL string) string {
	tb.Helper()
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/pgbouncer") // Debian's path, which is not in a user's PATH
	}
	if err != nil {
		tb.Skip("no pgbouncer on this machine (Debian: apt-get install pgbouncer)")
	}
	server, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	port, err := freePort()
	if err != nil {
		tb.Fatalf("testenv: find a port for PgBouncer: %v", err)
	}
	through := url.URL{
		Scheme: "postgres", User: url.User(server.User), Host: fmt.Sprintf("127.0.0.1:%d", port),
		Path: server.Database, RawQuery: "sslmode=disable",
	}
	startPgBouncer(tb, binary, server, port)
	Eventually(tb, 10*time.Second, func() error {
		return testdb.WithConn(tb.Context(), through.String(), func(*pgx.Conn) error { return nil })
	})
	return through.String()
}

func startPgBouncer(tb testing.TB, binary string, server *pgx.ConnConfig, port int) {
	tb.Helper()
	ini := filepath.Join(tb.TempDir(), "pgbouncer.ini")
	settings := fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s password='%s'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
`, server.Host, server.Port, server.User, strings.ReplaceAll(server.Password, "'", "''"), port)
	if err := os.WriteFile(ini, []byte(settings), 0o600); err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	args := []string{ini}
	if os.Getuid() == 0 {
		args = append([]string{"--user", "nobody"}, args...) // PgBouncer refuses to run as root
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(context.Background(), binary, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		tb.Fatalf("testenv: start PgBouncer: %v", err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill() // it has nothing to save
		_ = cmd.Wait()
		if tb.Failed() {
			tb.Logf("PgBouncer said:\n%s", output.String())
		}
	})
}

// freePort returns a port on loopback that was free a moment ago.
func freePort() (int, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}
