//go:build !unix

package embedded

import "syscall"

// memoryDir is a file system in memory. Only Linux has one.
const memoryDir = ""

func roomInMemory() bool { return false }

// attributes returns nothing on systems without accounts and signals.
func attributes(*account) *syscall.SysProcAttr { return nil }
