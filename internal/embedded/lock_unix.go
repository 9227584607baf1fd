//go:build unix

package embedded

import (
	"os"
	"syscall"
)

// tryLock takes the file's lock, which ends with the process that holds it,
// and says whether it was free.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
