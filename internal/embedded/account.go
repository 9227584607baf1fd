package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// An account is the unprivileged user that the server runs under when this
// process is root, because PostgreSQL refuses to run as root. A nil account
// means the user of this process.
type account struct {
	uid, gid int
}

// serverAccount returns nil where this process need not change the user.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // no account to change to is not an error
	}
	var errs []error
	// The account must be in the user database: initdb looks its name up.
	for _, name := range []string{"postgres", "nobody"} {
		a, err := lookupAccount(name)
		if err == nil {
			return a, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("PostgreSQL refuses to run as root and no other account was found; "+
		"create one (useradd postgres) or run as another user: %w", errors.Join(errs...))
}

func lookupAccount(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	return &account{uid: uid, gid: gid}, nil
}

// reachable says whether the account can get at what is in dir: every folder
// on the way must let others through.
func (a *account) reachable(dir string) error {
	if a == nil {
		return nil
	}
	folder, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for ; ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("%s is closed to the account with uid %d, which the server runs under: %w",
				folder, a.uid, os.ErrPermission)
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}

// own gives a file to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}
