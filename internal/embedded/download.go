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

// downloadVersion is the server that is downloaded.
const downloadVersion = embeddedpostgres.V17

// downloaded returns the folder with downloaded programs, downloading them
// where they are not there yet.
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
	// The library takes no context: what it does goes on in the background if
	// ctx ends, and is there for the next start.
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

// cacheDir returns where downloaded programs are kept. The cache of root
// itself would be closed to the account that the server runs under.
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

// download puts the programs into home, whole or not at all: they are
// extracted beside it, and the folder is then given its name.
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
		return err // and nobody else has put one there meanwhile
	}
	return nil
}

// extract has the library download and unpack the programs to dir.
//
// The library does so only as the first step of starting a server of its own,
// which cannot work as root. So it is led to stop after that step: a folder
// that looks like the data of this version, and holds nothing else, keeps it
// from running initdb and makes its server refuse to start. What counts is
// whether the programs are there then, not that refusal.
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
	// The library makes folders as the umask wills; the account must get in.
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
