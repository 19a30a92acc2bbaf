package envelope

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// A RootKey wraps the keys that the database stores. Its own key never comes near the
// database. It must be safe for concurrent use.
type RootKey interface {
	// ID names the key for good. It is no secret: it stands in the database, in logs and in
	// messages, and is 1 to 255 bytes long.
	ID() string
	// Wrap seals a key and binds it to associated, which is not stored.
	Wrap(plain, associated []byte) ([]byte, error)
	// Unwrap opens what Wrap made with the same associated, else it fails with ErrTampered.
	Unwrap(sealed, associated []byte) ([]byte, error)
}

const rootFormat byte = 1

const rootIDSize = 8 // bytes, shown as 16 hex characters

// A localKey is a root key that this process holds in memory.
type localKey struct {
	redacted
	id   string
	wrap Value // derived from the root key for wrapping alone
}

// newLocalKey takes ownership of root and clears it.
func newLocalKey(root []byte) (RootKey, error) {
	defer clear(root)
	master := NewValue(root)
	id, err := derive(master, nil, encode("strongroom root key id v1"), rootIDSize)
	if err != nil {
		return nil, fmt.Errorf("name root key: %w", err)
	}
	wrap, err := derive(master, nil, encode("strongroom root key wrap v1"), keySize)
	if err != nil {
		return nil, fmt.Errorf("prepare root key: %w", err)
	}
	return &localKey{id: hex.EncodeToString(id), wrap: NewValue(wrap)}, nil
}

func (k *localKey) ID() string { return k.id }

func (k *localKey) Wrap(plain, associated []byte) ([]byte, error) {
	return sealBox(k.wrap, []byte{rootFormat}, associated, plain)
}

func (k *localKey) Unwrap(sealed, associated []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != rootFormat {
		return nil, ErrTampered
	}
	return openBox(k.wrap, 1, associated, sealed)
}

// ErrKeyInsideData means that the root key file lies in the data folder: whoever copies the
// folder has both the lock and the key.
var ErrKeyInsideData = errors.New("the root key file is inside the data folder")

// OpenRootKeyFile reads a file made by CreateRootKeyFile and returns its keys, the newest last. The
// path may be a symbolic link, as mounted secrets are; what counts is where it leads. It refuses what is not a regular file,
// a file that others may read or write (outside Windows, where modes say nothing), a wrong
// form, and, unless insideOK, a file inside dataDir (ErrKeyInsideData). An empty dataDir asks
// for no check of the place.
func OpenRootKeyFile(path, dataDir string, insideOK bool) (keys []RootKey, err error) {
	if dataDir != "" && !insideOK {
		inside, err := isInside(path, dataDir)
		if err != nil {
			return nil, fmt.Errorf("look where root key file %q is: %w", path, err)
		}
		if inside {
			return nil, fmt.Errorf("root key file %q, data folder %q: %w", path, dataDir, ErrKeyInsideData)
		}
	}
	text, err := readPrivateFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	parsed, err := parseRootKeys(text)
	for i := 0; err == nil && i < len(parsed); i++ {
		var k RootKey
		k, err = newLocalKey(parsed[i])
		keys = append(keys, k)
	}
	if err != nil {
		return nil, fmt.Errorf("root key file %q: %w", path, err)
	}
	return keys, nil
}

// isInside reports whether path, with links followed, lies below dir. It compares folders, not
// their names: letter case and mount points must not hide one.
func isInside(path, dir string) (bool, error) {
	resolved, err := realPath(path)
	if err != nil {
		return false, err
	}
	data, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // nothing can be inside it yet
	}
	if err != nil {
		return false, err
	}
	for folder := filepath.Dir(resolved); ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return false, err
		}
		if os.SameFile(data, info) {
			return true, nil
		}
		if folder == filepath.Dir(folder) {
			return false, nil
		}
	}
}

// realPath follows links before it makes the path absolute: cleaning "link/.." first would
// look at another folder than the one that is opened.
func realPath(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(resolved)
}

// readPrivateFile reads a small file that only its owner may touch. It looks before opening,
// because opening a pipe would wait for a writer, and again at the open file, because the
// path may have changed in between.
func readPrivateFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("find root key file: %w", err)
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open root key file: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if info, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("look at root key file: %w", err)
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	return readRootKeyText(f)
}

func checkPrivate(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("root key file %q: found %s: want a regular file", path, info.Mode().Type())
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("root key file %q has mode %#o: want no access for group and others, as in 0600", path, info.Mode().Perm())
	}
	return nil
}
