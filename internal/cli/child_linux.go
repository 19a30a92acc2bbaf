package cli

import "syscall"

// withUs has the system end a child whose parent is gone without a chance to pass a signal on.
func withUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }

// ownGroup is withUs for a child that the terminal's signals do not reach.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
