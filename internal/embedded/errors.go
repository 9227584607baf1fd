package embedded

import (
	"errors"
	"fmt"
)

var (
	// ErrNoServer means that no PostgreSQL server program could be had,
	// neither on this machine nor by a download.
	ErrNoServer = errors.New("no PostgreSQL server found")

	// ErrClosed means that the server has been closed and its data removed.
	ErrClosed = errors.New("the server is closed")
)

// A ServerError says which program failed to do its work and what it wrote
// last.
type ServerError struct {
	// Program is the path of the program: initdb, postgres or pg_basebackup.
	Program string
	// Log is the end of what the program wrote. Empty where it wrote nothing.
	Log string
	// Err is why the program is taken to have failed.
	Err error
}

// Error names the program, the reason and the end of the log.
func (e *ServerError) Error() string {
	if e.Log == "" {
		return fmt.Sprintf("run %s: %v (it wrote nothing)", e.Program, e.Err)
	}
	return fmt.Sprintf("run %s: %v; it wrote last:\n%s", e.Program, e.Err, e.Log)
}

// Unwrap returns why the program is taken to have failed.
func (e *ServerError) Unwrap() error { return e.Err }
