package db

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/windows"
)

// lockFile takes an exclusive lock on a byte far behind the text, so that others can read who
// holds it. The system drops the lock when the process ends.
func lockFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the database: %w", err)
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	at := &windows.Overlapped{Offset: 1 << 30}
	if err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, at); err != nil {
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
