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

// A workdir is the temporary folder of one server: its data, its log, and a
// lock by which others see that its owner is alive.
type workdir struct {
	path string
	lock *os.File // held until the folder is removed
}

// newWorkdir makes a folder that the account can reach, in the first of
// parents that allows it. Folders there whose owner was killed are removed.
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
	return nil, fmt.Errorf("make a folder for the server's data; set TMPDIR to one that is open to all users: %w",
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

// prepare lets the account pass through the folder and gives it one of its
// own for the data. The folder itself stays closed to its writes.
func (w *workdir) prepare(a *account) error {
	if err := os.Chmod(w.path, 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(w.data(), 0o700); err != nil {
		return err
	}
	if err := a.own(w.data()); err != nil {
		return err
	}
	return w.hold()
}

// hold takes the lock. The file gets its name when it is locked, so a folder
// that is seen with a free lock has no owner any more.
func (w *workdir) hold() error {
	f, err := os.CreateTemp(w.path, "locking-")
	if err != nil {
		return err
	}
	w.lock = f
	if !tryLock(f) {
		return nil // a system without such locks: the folder has none
	}
	return os.Rename(f.Name(), filepath.Join(w.path, lockName))
}

func (w *workdir) data() string     { return filepath.Join(w.path, "data") }
func (w *workdir) password() string { return filepath.Join(w.path, "password") }
func (w *workdir) log() string      { return filepath.Join(w.path, "server.log") }

// remove deletes the folder with all that is in it.
func (w *workdir) remove() error {
	if w.lock != nil {
		defer w.lock.Close()
	}
	return os.RemoveAll(w.path)
}

// sweep removes the folders of servers whose owner was killed before it could
// do so. What it fails to remove stays for the next time.
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
