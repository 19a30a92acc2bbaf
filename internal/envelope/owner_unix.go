//go:build unix

package envelope

import (
	"fmt"
	"os"
	"syscall"
)

// sameOwner gives f the owner that another file has, who has to be able to read it.
func sameOwner(f *os.File, as string) error {
	info, err := os.Stat(as)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("give the new file to the owner of the old one: %w", err)
	}
	return nil
}
