//go:build unix

package server

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
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

// withholdMemory keeps what this process knows out of core dumps: none is written beside it, and where
// a program collects dumps, which that limit does not concern, Linux leaves all memory out of them.
func withholdMemory() error {
	err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if err != nil {
		err = fmt.Errorf("set the limit of core dumps: %w", err)
	}
	if runtime.GOOS == "linux" {
		err = errors.Join(err, os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0)) // core(5)
	}
	return err
}
