//go:build unix

package server

import (
	"io/fs"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxOpenFiles is how many files this process may have open, connections included. The runtime has
// raised it to what the system allows.
func maxOpenFiles() (n int, known bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)), true
}

// ownerOf is the user whom a file belongs to.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
