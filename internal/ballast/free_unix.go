//go:build unix

package ballast

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// Free is how many bytes this user can still write on the disk of a folder.
func Free(folder string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// allocated is what a file takes up: one with holes is longer than that.
func allocated(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	return min(info.Size(), int64(st.Blocks)*512) // POSIX does not fix the unit; all systems have this
}
