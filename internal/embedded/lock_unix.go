//go:build unix

package embedded

import (
	"os"
	"syscall"
)

// tryLock takes the file's lock and reports whether it was free. The kernel
// releases the lock when the process ends.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
