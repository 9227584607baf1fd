package embedded

import "syscall"

const (
	// memoryDir is a file system in memory. Creating a database there is ten
	// times as fast as on a disk: it is a matter of making 300 files.
	memoryDir = "/dev/shm"

	// memoryNeeded is what must be free there. Containers often have but
	// 64 MB; a server takes 50 MB and what its log and its tables grow to.
	memoryNeeded = 1 << 30
)

// roomInMemory says whether a server's data can be kept in memoryDir.
func roomInMemory() bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memoryDir, &fs); err != nil {
		return false
	}
	return fs.Bavail*uint64(fs.Bsize) >= memoryNeeded
}

// attributes makes the program run as the account, out of reach of a Ctrl-C
// at the terminal, which is for the parent to handle, and shut down at once
// when its parent dies.
func attributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}
