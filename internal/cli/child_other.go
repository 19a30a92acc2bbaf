//go:build !linux

package cli

import "syscall"

// withUs does nothing: only Linux ends a child with its parent.
func withUs() *syscall.SysProcAttr { return nil }

func ownGroup() *syscall.SysProcAttr { return nil }
