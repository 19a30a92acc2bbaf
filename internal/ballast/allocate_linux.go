package ballast

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate has the file system set the room aside, without writing to it.
func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
