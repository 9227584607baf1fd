package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// An account is the unprivileged user that runs the server if this process is
// root, because PostgreSQL refuses to run as root. A nil account means the user
// of this process.
type account struct {
	uid, gid int
}

// serverAccount returns nil if the server can run as the current user.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil means the current user
	}
	var errs []error
	// initdb looks up the account's name, so it must be in the user database.
	for _, name := range []string{"postgres", "nobody"} {
		a, err := lookupAccount(name)
		if err == nil {
			return a, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("PostgreSQL refuses to run as root and there is no other account; "+
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

// reachable checks that the account can reach dir: every directory on the path
// must allow others to pass.
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
			return fmt.Errorf("the server runs as uid %[2]d, which cannot enter %[1]s: %[3]w",
				folder, a.uid, os.ErrPermission)
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}

// chown makes the account the owner of a file.
func (a *account) chown(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}
