// Package durable makes the names of files last. A file whose bytes are synced may still be missing
// after a power cut: its name stands in the folder, which has to be synced as well.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Rename gives a file, whose contents are synced, another name in its folder, over a file that had that
// name. After a crash at any moment there is the old one or the new one. An error may come after the
// rename: then the new name stands, and may be gone after a power cut.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(to))
}

// SyncFolder makes the names in a folder durable. Windows knows no such call and needs none.
func SyncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("make the names in a folder durable: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
