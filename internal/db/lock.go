package db

import (
	"errors"
	"fmt"
	"os"
)

// ErrInUse is in the chain of an error when another process holds the SQLite file.
var ErrInUse = errors.New("the database is in use")

func heldBy(path, holder string) error {
	if holder == "" {
		holder = "another process"
	}
	return fmt.Errorf("%w by %s: stop it first (lock file %s)", ErrInUse, holder, path)
}

func writeHolder(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	text := fmt.Appendf(nil, "process %d on %s\n", os.Getpid(), host)
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	return nil
}
