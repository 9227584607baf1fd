package embedded

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
)

const defaultMaxConnections = 200

// PostgresConfig says what server to run. The zero value runs the server
// found on the machine, or downloads one, and favours speed over safety: its
// data is lost if the machine, not just the server, crashes.
type PostgresConfig struct {
	// Durable makes the server keep what it has committed whatever happens,
	// as one in production does (fsync, full_page_writes). Without it the
	// server still keeps its data when it is killed and restarted.
	Durable bool

	// MaxConnections is how many connections the server takes. Zero or less
	// means 200.
	MaxConnections int

	// Settings are further server settings, as in postgresql.conf. They win
	// over those that the package makes, the listening address included.
	Settings map[string]string

	// TempDir is where the directory for the server's data is made. When
	// running as root it must be reachable for other users. Empty means
	// memory, /dev/shm, where the server is not Durable and there is a
	// gigabyte free, and else os.TempDir or, if other users cannot reach
	// that, /tmp or /var/tmp.
	TempDir string

	// BinDir is the folder that holds initdb and postgres. Empty means that
	// they are searched for: where pg_config says, where Debian, Red Hat,
	// Homebrew and Postgres.app put them, in PATH, and then downloaded.
	BinDir string

	// Download skips the search and uses downloaded programs only. They are
	// downloaded once and kept in CacheDir. BinDir must be empty.
	Download bool

	// CacheDir is where downloaded programs are kept. Empty means a folder of
	// the user's cache directory or, for root, of /var/cache.
	CacheDir string

	// DownloadURL is the Maven repository to download from, for instance a
	// mirror. Empty means the one that the library embedded-postgres uses.
	DownloadURL string
}

func (c PostgresConfig) validate() error {
	if c.BinDir != "" && c.Download {
		return fmt.Errorf("embedded.PostgresConfig: BinDir is %q and Download is set; set one of them", c.BinDir)
	}
	return nil
}

// tempDirs returns where the data directory may be made, best first.
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

// serverArgs returns the command line for a server on the given data and port.
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
		// synchronous_commit stays on: without fsync it costs next to nothing,
		// and with it a killed server loses no commit.
		s["fsync"] = "off"
		s["full_page_writes"] = "off"
		s["max_wal_size"] = "256MB" // it may be memory that the log fills
	}
	maps.Copy(s, c.Settings)
	return s
}
