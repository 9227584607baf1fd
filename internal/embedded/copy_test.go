package embedded_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
)

// startWithRow starts a server with a table that has one row.
func startWithRow(t *testing.T) *embedded.Postgres {
	t.Helper()
	server := start(t, embedded.PostgresConfig{})
	if _, err := exec.LookPath(filepath.Join(server.BinDir(), "pg_basebackup")); err != nil {
		t.Skipf("this test needs pg_basebackup: %v", err)
	}
	mustExec(t, server, `CREATE TABLE rows AS SELECT 1 AS n`)
	return server
}

func mustExec(t *testing.T, server *embedded.Postgres, sql string) {
	t.Helper()
	if _, err := connect(t, server).Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func wantRows(t *testing.T, server *embedded.Postgres, want int) {
	t.Helper()
	var got int
	if err := connect(t, server).QueryRow(t.Context(), `SELECT count(*) FROM rows`).Scan(&got); err != nil || got != want {
		t.Errorf("%d rows, %v; want %d", got, err, want)
	}
}

func closeLater(t *testing.T, server *embedded.Postgres) {
	t.Helper()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestBackup(t *testing.T) {
	t.Parallel()
	server := startWithRow(t)
	backup, err := server.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, backup)
	mustExec(t, server, `INSERT INTO rows VALUES (2)`)
	for range 2 {
		if err := backup.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantRows(t, backup, 1)
	}
	wantRows(t, server, 2)
}

func TestStandby(t *testing.T) {
	t.Parallel()
	server := startWithRow(t)
	standby, err := server.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, standby)
	mustExec(t, server, `INSERT INTO rows VALUES (2)`)
	conn := connect(t, standby)
	testenv.Eventually(t, 10*time.Second, func() error {
		var n int
		return conn.QueryRow(t.Context(), `SELECT n FROM rows WHERE n = 2`).Scan(&n)
	})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, standby, `SELECT pg_promote()`)
	mustExec(t, standby, `INSERT INTO rows VALUES (3)`)
	wantRows(t, standby, 3)
}
