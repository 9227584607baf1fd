//go:build !unix

package embedded

import "syscall"

// memoryDir is a file system in memory, which there is only on Linux.
const memoryDir = ""

func roomInMemory() bool { return false }

// attributes adds nothing where there are neither accounts nor signals.
func attributes(*account) *syscall.SysProcAttr { return nil }
