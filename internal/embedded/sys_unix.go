//go:build unix && !linux

package embedded

import "syscall"

// memoryDir is a file system in memory. Only Linux has one.
const memoryDir = ""

func roomInMemory() bool { return false }

// attributes makes the program run as the account, in its own process group so
// that Ctrl-C reaches only the parent.
func attributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}
