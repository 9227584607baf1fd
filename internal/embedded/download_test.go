package embedded_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pawl-go/pawl/internal/embedded"
)

// binDirVariable tells the fake downloaded programs where the real ones are.
const binDirVariable = "PAWL_TEST_BINDIR"

// mirror serves a package like those the library downloads. Its programs are
// shell scripts, made by
//
//	for n in initdb postgres pg_ctl; do
//	  printf '#!/bin/sh\nexec "$PAWL_TEST_BINDIR/%s" "$@"\n' $n >bin/$n && chmod 755 bin/$n
//	done; tar -c bin | xz --check=crc32 >testdata/postgres.txz
func mirror(t *testing.T) (url string, downloads *atomic.Int32) {
	t.Helper()
	programs, err := os.ReadFile(filepath.Join("testdata", "postgres.txz"))
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	w, err := z.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(programs); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	downloads = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".jar") {
			http.NotFound(w, r) // no checksum
			return
		}
		downloads.Add(1)
		_, _ = w.Write(jar.Bytes())
	}))
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections() // the library's
	})
	return server.URL, downloads
}

func TestDownload(t *testing.T) {
	t.Setenv(binDirVariable, start(t, embedded.PostgresConfig{}).BinDir())
	url, downloads := mirror(t)
	cfg := embedded.PostgresConfig{Download: true, DownloadURL: url, CacheDir: openDir(t)}
	for range 2 {
		server := start(t, cfg)
		if filepath.Dir(filepath.Dir(server.BinDir())) != cfg.CacheDir {
			t.Errorf("the programs are in %s, want them below %s", server.BinDir(), cfg.CacheDir)
		}
		if err := connect(t, server).Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := downloads.Load(); n != 1 {
		t.Errorf("downloaded %d times, want 1", n)
	}
	if left, _ := os.ReadDir(cfg.CacheDir); len(left) != 1 {
		t.Errorf("the cache contains %v, want only the programs", left)
	}
}

func TestDownloadFails(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	cfg := embedded.PostgresConfig{Download: true, DownloadURL: server.URL, CacheDir: openDir(t)}
	_, err := embedded.StartPostgres(t.Context(), cfg)
	if !errors.Is(err, embedded.ErrNoServer) || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("failed download: %v, want ErrNoServer and a hint what to install", err)
	}
}
