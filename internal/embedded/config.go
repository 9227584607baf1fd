package embedded

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
)

const defaultMaxConnections = 200

// PostgresConfig configures the server. The zero value runs the server
// installed on the machine, or downloads one. It prefers speed to safety: data
// is lost if the machine crashes, but not if only the server does.
type PostgresConfig struct {
	// Durable keeps committed data through any crash, as in production (fsync,
	// full_page_writes). Without it, data still survives if the server is
	// killed and restarted.
	Durable bool

	// MaxConnections is the maximum number of connections. Zero or less means
	// 200.
	MaxConnections int

	// Settings are additional server settings, as in postgresql.conf. They
	// override the settings this package makes, including the listen address.
	Settings map[string]string

	// TempDir is where the data directory is created. If this process is root,
	// other users must be able to reach it. Empty means /dev/shm, which is
	// memory, if the server is not Durable and a gigabyte is free there;
	// otherwise os.TempDir or, if other users cannot reach that, /tmp or
	// /var/tmp.
	TempDir string

	// BinDir is the directory that contains initdb and postgres. If it is
	// empty, the package looks where pg_config says, where Debian, Red Hat,
	// Homebrew and Postgres.app install them, and in PATH, and then downloads
	// them.
	BinDir string

	// Download skips the search and uses only downloaded programs. They are
	// downloaded once and kept in CacheDir. BinDir must be empty.
	Download bool

	// CacheDir is where downloaded programs are kept. Empty means a directory
	// below the user's cache directory or, for root, below /var/cache.
	CacheDir string

	// DownloadURL is the Maven repository to download from, for example a
	// mirror. Empty means the default of the library embedded-postgres.
	DownloadURL string
}

func (c PostgresConfig) validate() error {
	if c.BinDir != "" && c.Download {
		return fmt.Errorf("embedded.PostgresConfig: BinDir is %q and Download is set; set only one of them", c.BinDir)
	}
	return nil
}

// tempDirs returns candidates for the data directory's parent, best first.
func (c PostgresConfig) tempDirs() []string {
	if c.TempDir != "" {
		return []string{c.TempDir}
	}
	dirs := []string{os.TempDir(), "/tmp", "/var/tmp"}
	if !c.Durable && roomInMemory() {
		dirs = slices.Insert(dirs, 0, memoryDir)
	}
	return dirs
}

// serverArgs returns the arguments for a server with this data and port.
func (c PostgresConfig) serverArgs(data string, port int) []string {
	settings := c.settings(port)
	args := []string{"-D", data}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

func (c PostgresConfig) settings(port int) map[string]string {
	s := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": "",
		"max_connections":         strconv.Itoa(positive(c.MaxConnections, defaultMaxConnections)),
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"log_checkpoints":         "off",
	}
	if !c.Durable {
		// Keep synchronous_commit on: without fsync it costs almost nothing,
		// and with it no commit is lost if the server is killed.
		s["fsync"] = "off"
		s["full_page_writes"] = "off"
		s["max_wal_size"] = "256MB" // the WAL may be stored in memory
	}
	maps.Copy(s, c.Settings)
	return s
}
