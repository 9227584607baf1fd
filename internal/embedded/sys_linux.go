package embedded

import "syscall"

const (
	// memoryDir is a file system in memory. Creating a database there is ten
	// times as fast as on disk, because initdb creates 300 files.
	memoryDir = "/dev/shm"

	// memoryNeeded is how many bytes must be free there. Containers often have
	// only 64 MB; a server needs 50 MB plus its WAL and its tables.
	memoryNeeded = 1 << 30
)

// roomInMemory reports whether memoryDir has room for a server's data.
func roomInMemory() bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memoryDir, &fs); err != nil {
		return false
	}
	return fs.Bavail*uint64(fs.Bsize) >= memoryNeeded
}

// attributes makes the program run as the account, in its own process group so
// that Ctrl-C reaches only the parent, and makes the kernel shut it down at
// once when its parent dies.
func attributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}
