package embedded

import (
	"errors"
	"fmt"
)

var (
	// ErrNoServer means that no PostgreSQL server is installed and none could
	// be downloaded.
	ErrNoServer = errors.New("no PostgreSQL server found")

	// ErrClosed means that the server was closed and its data removed.
	ErrClosed = errors.New("the server is closed")
)

// A ServerError says which program failed and shows the end of its output.
type ServerError struct {
	// Program is the path of the program: initdb, postgres or pg_basebackup.
	Program string
	// Log is the end of the program's output. It may be empty.
	Log string
	// Err says how the program failed.
	Err error
}

// Error returns the program, the error and the end of the log.
func (e *ServerError) Error() string {
	if e.Log == "" {
		return fmt.Sprintf("run %s: %v (no output)", e.Program, e.Err)
	}
	return fmt.Sprintf("run %s: %v; end of its output:\n%s", e.Program, e.Err, e.Log)
}

// Unwrap returns Err.
func (e *ServerError) Unwrap() error { return e.Err }
