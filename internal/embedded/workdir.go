package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	workdirPrefix = "pawl-postgres-"
	lockName      = "lock"
)

// A workdir is the temporary directory of one server. It holds the data, the
// log and a lock file that shows whether the owner is alive.
type workdir struct {
	path string
	lock *os.File // held until the directory is removed
}

// newWorkdir creates a directory that the account can reach, in the first of
// parents that works. It also removes directories there whose owner was killed.
func newWorkdir(a *account, parents []string) (*workdir, error) {
	var errs []error
	for _, parent := range parents {
		w, err := makeWorkdir(a, parent)
		if err == nil {
			sweep(parent)
			return w, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("create a directory for the server's data; set TMPDIR to one that all users can enter: %w",
		errors.Join(errs...))
}

func makeWorkdir(a *account, parent string) (*workdir, error) {
	if err := a.reachable(parent); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(parent, workdirPrefix)
	if err != nil {
		return nil, err
	}
	w := &workdir{path: path}
	if err := w.prepare(a); err != nil {
		return nil, errors.Join(err, w.remove())
	}
	return w, nil
}

// prepare lets the account enter the directory and creates a subdirectory that
// it owns, for the data. The account cannot write to the directory itself.
func (w *workdir) prepare(a *account) error {
	if err := os.Chmod(w.path, 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(w.data(), 0o700); err != nil {
		return err
	}
	if err := a.chown(w.data()); err != nil {
		return err
	}
	return w.takeLock()
}

// takeLock takes the lock. It names the file only after locking it, so a directory
// whose lock is free has no owner.
func (w *workdir) takeLock() error {
	f, err := os.CreateTemp(w.path, "locking-")
	if err != nil {
		return err
	}
	w.lock = f
	if !tryLock(f) {
		return nil // the system has no such locks
	}
	return os.Rename(f.Name(), filepath.Join(w.path, lockName))
}

func (w *workdir) data() string     { return filepath.Join(w.path, "data") }
func (w *workdir) password() string { return filepath.Join(w.path, "password") }
func (w *workdir) log() string      { return filepath.Join(w.path, "server.log") }

// remove deletes the directory and its contents.
func (w *workdir) remove() error {
	if w.lock != nil {
		defer w.lock.Close()
	}
	return os.RemoveAll(w.path)
}

// sweep removes the directories of servers whose owner was killed. What it
// cannot remove stays for the next sweep.
func sweep(parent string) {
	for _, path := range glob(filepath.Join(parent, workdirPrefix+"*", lockName)) {
		sweepOne(path)
	}
}

func sweepOne(lock string) {
	f, err := os.Open(lock)
	if err != nil {
		return
	}
	defer f.Close()
	if tryLock(f) {
		_ = os.RemoveAll(filepath.Dir(lock))
	}
}
