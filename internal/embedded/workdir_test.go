//go:build unix

package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestSweepRemovesOrphans(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	owned, err := makeWorkdir(nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := makeWorkdir(nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := orphan.lock.Close(); err != nil { // as when its owner dies
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, workdirPrefix+"begun"), 0o700); err != nil {
		t.Fatal(err)
	}
	sweep(dir)
	want := []string{filepath.Base(owned.path), workdirPrefix + "begun"}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if err := owned.remove(); err != nil {
		t.Error(err)
	}
}

func TestNewWorkdirUsesFirstUsableParent(t *testing.T) {
	t.Parallel()
	good := t.TempDir()
	w, err := newWorkdir(nil, []string{filepath.Join(good, "missing"), good})
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(w.path) != good {
		t.Errorf("created %s, want it in %s", w.path, good)
	}
	if err := w.remove(); err != nil {
		t.Error(err)
	}
	if _, err := newWorkdir(nil, []string{filepath.Join(good, "missing")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no usable parent directory: %v", err)
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	other := &account{uid: 12345}
	if err := other.reachable(filepath.Join(closed, "inside")); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a directory below a closed one: %v, want ErrPermission", err)
	}
	if err := other.reachable("/"); err != nil {
		t.Errorf("the root directory: %v", err)
	}
	if err := (*account)(nil).reachable(closed); err != nil {
		t.Errorf("for the current user: %v", err)
	}
}
