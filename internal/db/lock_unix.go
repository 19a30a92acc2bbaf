//go:build unix

package db

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile takes an exclusive lock on a file and writes into it who holds it. The kernel drops
// the lock when the process ends, however it ends.
func lockFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the database: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		return nil, heldBy(path, strings.TrimSpace(string(holder)))
	}
	if err := writeHolder(f); err != nil {
		f.Close()
		return nil, err
	}
	return f.Close, nil
}
