package envelope

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"strongroom/internal/durable"
)

// rootFileHeader is the first line of a root key file. Each line behind it is a key in base64, the
// newest last. There is more than one only while the root key is being changed:
//
//	strongroom root key v1
//	<44 characters>
const rootFileHeader = "strongroom root key v1"

// maxRootKeys is how many keys a file may hold, and rootFileSize is more than any good file has,
// with room for another system's line ends.
const (
	maxRootKeys  = 8
	rootFileSize = 512
)

// CreateRootKeyFile draws a root key and writes it to a new file that only its owner may read.
// It never replaces a file. When it returns, the key is on the disk, not only in its cache:
// a key that a power cut takes away takes everything sealed under it along. If the process
// dies in between, an unfinished file is left, which does not open and is not replaced.
func CreateRootKeyFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create root key file: %w", err)
	}
	if err := writeRootKeys(f, newKey().Reveal()); err != nil {
		return errors.Join(fmt.Errorf("write root key file: %w", err), os.Remove(path))
	}
	if err := durable.SyncFolder(filepath.Dir(path)); err != nil {
		return errors.Join(fmt.Errorf("write folder of root key file: %w", err), os.Remove(path))
	}
	return nil
}

// writeRootKeys fills, syncs and closes f.
func writeRootKeys(f *os.File, keys ...[]byte) error {
	text := append(make([]byte, 0, rootFileSize), rootFileHeader+"\n"...)
	for _, key := range keys {
		text = append(base64.StdEncoding.AppendEncode(text, key), '\n')
	}
	defer clear(text)
	_, err := f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func readRootKeyText(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, rootFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read root key file: %w", err)
	}
	return text, nil
}

// parseRootKeys reads the keys behind the first line. Its errors quote nothing of them.
func parseRootKeys(text []byte) (keys [][]byte, err error) {
	header, rest, found := bytes.Cut(text, []byte("\n"))
	if !found || string(bytes.TrimRight(header, "\r")) != rootFileHeader {
		return nil, fmt.Errorf("want the first line %q", rootFileHeader)
	}
	lines := bytes.Split(bytes.TrimRight(rest, "\r\n"), []byte("\n"))
	if len(lines) > maxRootKeys || len(text) > rootFileSize {
		return nil, fmt.Errorf("want at most %d keys, a line each, and no more", maxRootKeys)
	}
	for _, line := range lines {
		key, err := base64.StdEncoding.Strict().AppendDecode(nil, bytes.TrimRight(line, "\r"))
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("want %d bytes in base64 on each line from the second line on and no more", keySize)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// AddToRootKeyFile draws another root key and writes it behind those of the file, in one step: a
// crash leaves the old file. It returns the ids of all keys, the new one last.
func AddToRootKeyFile(path string) (ids []string, err error) {
	return editRootKeyFile(path, func(keys [][]byte) ([][]byte, error) {
		if len(keys) == maxRootKeys {
			return nil, fmt.Errorf("it has %d keys already: remove those that wrap nothing any more", len(keys))
		}
		return append(keys, newKey().Reveal()), nil
	})
}

// RemoveFromRootKeyFile removes a key, given by its id, in one step. What it wrapped is lost unless
// another copy of the key is kept. The last key stays.
func RemoveFromRootKeyFile(path, id string) (ids []string, err error) {
	return editRootKeyFile(path, func(keys [][]byte) ([][]byte, error) {
		i := slices.IndexFunc(keys, func(key []byte) bool {
			k, err := newLocalKey(bytes.Clone(key))
			return err == nil && k.ID() == id
		})
		switch {
		case i < 0:
			return nil, fmt.Errorf("it has no key %s", id)
		case len(keys) == 1:
			return nil, fmt.Errorf("%s is its only key", id)
		}
		return slices.Delete(keys, i, i+1), nil
	})
}

func editRootKeyFile(path string, edit func(keys [][]byte) ([][]byte, error)) (ids []string, err error) {
	fail := func(err error) ([]string, error) { return nil, fmt.Errorf("root key file %q: %w", path, err) }
	real, err := realPath(path)
	if err != nil {
		return fail(err)
	}
	text, err := readPrivateFile(real)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	keys, err := parseRootKeys(text)
	if err != nil {
		return fail(err)
	}
	if keys, err = edit(keys); err != nil {
		return fail(err)
	}
	if err := replaceRootKeyFile(real, keys); err != nil {
		return fail(err)
	}
	for _, key := range keys {
		k, err := newLocalKey(key)
		if err != nil {
			return fail(err)
		}
		ids = append(ids, k.ID())
	}
	return ids, nil
}

// replaceRootKeyFile keeps the owner of the file, where that is another than who edits it.
func replaceRootKeyFile(path string, keys [][]byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".root-key-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	if err := sameOwner(f, path); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := writeRootKeys(f, keys...); err != nil {
		return err
	}
	return durable.Rename(f.Name(), path)
}
