package config

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
)

// maxSecretFile bounds a file with a password or connection string.
const maxSecretFile = 64 << 10

// ReadSecretFile reads a file that holds a password or passphrase, without the line end at its
// end. It refuses what others on the machine may read (on Windows the folder's access list has
// to see to that), what is not a regular file, and an empty one. The caller wipes the bytes
// when done. No error carries the content.
func ReadSecretFile(path string) ([]byte, error) {
	// Before opening: to open a pipe would wait for its writer.
	if err := checkSecretFile(path); err != nil {
		return nil, err
	}
	data, err := readBounded(path, maxSecretFile)
	if err != nil {
		return nil, fmt.Errorf("read secret file: %w", err)
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(data) == 0 {
		return nil, fmt.Errorf("secret file %q: want one line, found nothing", path)
	}
	return data, nil
}

func checkSecretFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("secret file %q: want a regular file, found mode %s", path, info.Mode())
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return fmt.Errorf("secret file %q: want mode 0600 or 0400, found %#o", path, mode)
	}
	return nil
}

// ConnectionString returns where PostgreSQL is and, with url_file, the password: only the
// driver may see it. It is empty for SQLite.
func (d Database) ConnectionString() (string, error) {
	if d.URLFile == "" {
		return d.URL, nil
	}
	text, err := ReadSecretFile(d.URLFile)
	if err != nil {
		return "", fmt.Errorf("database.url_file: %w", err)
	}
	return string(text), nil
}
