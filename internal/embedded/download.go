package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloadVersion is the server version to download.
const downloadVersion = embeddedpostgres.V17

// downloaded returns the directory with the downloaded programs. It downloads
// them if they are missing.
func (c PostgresConfig) downloaded(ctx context.Context) (string, error) {
	cache, err := c.cacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "postgresql-"+string(downloadVersion))
	binDir := filepath.Join(home, "bin")
	if checkBinDir(binDir) == nil {
		return binDir, nil
	}
	// The library takes no context. If ctx ends, the download continues in the
	// background and the next start can use it.
	done := make(chan error, 1)
	go func() { done <- c.download(cache, home) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("download PostgreSQL %s to %s: %w", downloadVersion, cache, err)
	}
	return binDir, nil
}

// cacheDir returns where downloaded programs are kept. For root it is not
// root's own cache directory, because the server's account cannot enter that.
func (c PostgresConfig) cacheDir() (string, error) {
	if c.CacheDir != "" {
		return c.CacheDir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/pawl", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "pawl"), nil
}

// download installs the programs in home atomically: it extracts them next to
// home and renames the directory.
func (c PostgresConfig) download(cache, home string) (err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	extracted := filepath.Join(scratch, "postgresql")
	if err := c.extract(scratch, extracted); err != nil {
		return err
	}
	if err := os.Rename(extracted, home); err != nil && checkBinDir(filepath.Join(home, "bin")) != nil {
		return err // unless another process has installed them meanwhile
	}
	return nil
}

// extract makes the library download and unpack the programs to dir.
//
// The library does so only as the first step of starting its own server, which
// cannot work as root. A fake data directory stops it after that step: it looks
// like a data directory of this version but is otherwise empty, so the library
// skips initdb and its server fails to start. extract ignores that failure and
// checks that the programs exist.
func (c PostgresConfig) extract(scratch, dir string) error {
	decoy := filepath.Join(scratch, "decoy")
	if err := os.Mkdir(decoy, 0o700); err != nil {
		return err
	}
	major, _, _ := strings.Cut(string(downloadVersion), ".")
	if err := os.WriteFile(filepath.Join(decoy, "PG_VERSION"), []byte(major), 0o600); err != nil {
		return err
	}
	refusal := embeddedpostgres.NewDatabase(c.library(scratch, decoy, dir)).Start()
	if err := checkBinDir(filepath.Join(dir, "bin")); err != nil {
		return cmp.Or(refusal, err)
	}
	// The library obeys the umask, but the account must be able to enter.
	return os.Chmod(dir, 0o755)
}

func (c PostgresConfig) library(scratch, data, binaries string) embeddedpostgres.Config {
	lib := embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		Port(0).
		Logger(io.Discard).
		CachePath(scratch).
		RuntimePath(filepath.Join(scratch, "runtime")).
		DataPath(data).
		BinariesPath(binaries)
	if c.DownloadURL != "" {
		lib = lib.BinaryRepositoryURL(c.DownloadURL)
	}
	return lib
}
