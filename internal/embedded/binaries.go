package embedded

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// advice is the part of an error that says how to get a server.
const advice = "install PostgreSQL (apt-get install postgresql, dnf install postgresql-server, " +
	"brew install postgresql) or set DATABASE_URL to a running server"

// usualPlaces lists the directories where packages install the server's
// programs. If several match, the newest version wins.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
	"/usr/pgsql-*/bin",          // Red Hat, packages of the PostgreSQL project
	"/usr/libexec/postgresql*",  // Alpine
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin", // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/local/pgsql/bin", // built from source
}

// binaries returns the directory that contains initdb and postgres.
func (c PostgresConfig) binaries(ctx context.Context) (string, error) {
	if c.BinDir != "" {
		if err := checkBinDir(c.BinDir); err != nil {
			return "", fmt.Errorf("%w in the configured BinDir: %w", ErrNoServer, err)
		}
		return c.BinDir, nil
	}
	if !c.Download {
		if dir, ok := installed(ctx); ok {
			return dir, nil
		}
	}
	dir, err := c.downloaded(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: none is installed and the download failed; %s: %w", ErrNoServer, advice, err)
	}
	return dir, nil
}

// installed looks for a server on this machine.
func installed(ctx context.Context) (string, bool) {
	for _, dir := range candidates(ctx) {
		if checkBinDir(dir) == nil {
			return dir, true
		}
	}
	return "", false
}

func candidates(ctx context.Context) []string {
	var dirs []string
	// pg_config is not enough: the client library installs it too.
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range usualPlaces {
		dirs = append(dirs, newestFirst(glob(pattern))...)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, realDir(path))
	}
	return dirs
}

func glob(pattern string) []string {
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return nil // Glob fails only on a malformed pattern
	}
	return dirs
}

// newestFirst sorts directories by the first number in their path, the version.
func newestFirst(dirs []string) []string {
	slices.SortStableFunc(dirs, func(a, b string) int { return versionIn(b) - versionIn(a) })
	return dirs
}

func versionIn(path string) int {
	digits := strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, err := strconv.Atoi(digits[0])
	if err != nil {
		return 0
	}
	return n
}

// realDir resolves symlinks and returns the program's directory: initdb looks
// for postgres next to itself.
func realDir(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return filepath.Dir(path)
}

// checkBinDir returns an error if dir lacks one of the server's programs.
func checkBinDir(dir string) error {
	var errs []error
	for _, name := range []string{"initdb", "postgres"} {
		_, err := exec.LookPath(filepath.Join(dir, name))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
