//go:build unix && !linux

package embedded

import "syscall"

// memoryDir is a file system in memory, which there is only on Linux.
const memoryDir = ""

func roomInMemory() bool { return false }

// attributes makes the program run as the account, out of reach of a Ctrl-C
// at the terminal, which is for the parent to handle.
func attributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}
