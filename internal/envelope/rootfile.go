package envelope

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// rootFileHeader is the first line of a root key file, the second is the key in base64:
//
//	strongroom root key v1
//	<44 characters>
const rootFileHeader = "strongroom root key v1"

// rootFileSize is more than any good file has, with room for another system's line ends.
const rootFileSize = 128

// CreateRootKeyFile draws a root key and writes it to a new file that only its owner may read.
// It never replaces a file. When it returns, the key is on the disk, not only in its cache:
// a key that a power cut takes away takes everything sealed under it along. If the process
// dies in between, an unfinished file is left, which does not open and is not replaced.
func CreateRootKeyFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create root key file: %w", err)
	}
	if err := writeRootKey(f); err != nil {
		return errors.Join(fmt.Errorf("write root key file: %w", err), os.Remove(path))
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return errors.Join(fmt.Errorf("write folder of root key file: %w", err), os.Remove(path))
	}
	return nil
}

// writeRootKey fills, syncs and closes f.
func writeRootKey(f *os.File) error {
	key := newKey()
	defer clear(key.Reveal())
	text := append([]byte(rootFileHeader), '\n')
	text = append(base64.StdEncoding.AppendEncode(text, key.Reveal()), '\n')
	defer clear(text)
	_, err := f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes the entry of a new file durable. Windows knows no such call and needs none.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readRootKeyText(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, rootFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read root key file: %w", err)
	}
	return text, nil
}

// parseRootKey reads the two lines. Its errors quote nothing of the second.
func parseRootKey(text []byte) ([]byte, error) {
	header, line, found := bytes.Cut(text, []byte("\n"))
	if !found || string(bytes.TrimRight(header, "\r")) != rootFileHeader {
		return nil, fmt.Errorf("want the first line %q", rootFileHeader)
	}
	key, err := base64.StdEncoding.Strict().AppendDecode(nil, bytes.TrimRight(line, "\r\n"))
	if err != nil || len(key) != keySize || len(text) > rootFileSize {
		return nil, fmt.Errorf("want %d bytes in base64 on the second line and no more", keySize)
	}
	return key, nil
}
