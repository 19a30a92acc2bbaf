package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"strongroom/internal/ballast"
	"strongroom/internal/config"
)

// checkFiles looks who can get at the files of the server, and says so of those alone that are wrong:
// they are many.
func checkFiles(cfg config.Config) []Finding {
	out := []Finding{checkDataDir(cfg), checkSocket(cfg)}
	for _, f := range privateFiles(cfg) {
		if mend, found := exposed(f.path); mend != "" {
			out = append(out, bad(f.subject, mend, "%s", found))
		}
	}
	return out
}

// privateFiles are those that nobody else may read. They need not exist.
func privateFiles(cfg config.Config) (files []struct{ subject, path string }) {
	add := func(subject string, paths ...string) {
		for _, path := range paths {
			if path != "" {
				files = append(files, struct{ subject, path string }{subject, path})
			}
		}
	}
	add(rootKeySetting(cfg), cfg.RootKey.File, cfg.RootKey.PassphraseFile)
	add("tls.key_file", cfg.TLS.KeyFile)
	add("database.url_file", cfg.Database.URLFile)
	if p := cfg.Database.Path; p != "" {
		add("database.path", p, p+"-wal", p+"-shm", p+".lock")
	}
	add("audit.segment_dir", cfg.Audit.SegmentDir)
	add("data_dir", filepath.Join(cfg.DataDir, "ca-key.pem"), progressFile(cfg))
	return files
}

func checkDataDir(cfg config.Config) Finding {
	const subject = "data_dir"
	info, err := os.Stat(cfg.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad(subject, "strongroom init", "%s does not exist", cfg.DataDir)
	case err != nil:
		return bad(subject, "run as the user who owns it", "%v", err)
	case !info.IsDir():
		return bad(subject, "set data_dir to a folder", "%s is no folder", cfg.DataDir)
	}
	if mend, found := exposed(cfg.DataDir); mend != "" {
		return bad(subject, mend, "%s", found)
	}
	return good(subject, "%s, mode %04o", cfg.DataDir, info.Mode().Perm())
}

// exposed says what is wrong with the mode or the owner of a file, and what mends it; both are "" where
// nothing is, or where there is no file.
func exposed(path string) (mend, found string) {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" {
		return "", "" // whoever opens it meets the error
	}
	if info.Mode().Perm()&0o077 != 0 {
		mode := 0o600
		if info.IsDir() {
			mode = 0o700
		}
		return fmt.Sprintf("chmod %o %s", mode, path), fmt.Sprintf("%s has mode %04o: others may get at it", path, info.Mode().Perm())
	}
	me := os.Geteuid()
	if owner, ok := ownerOf(info); ok && owner != me && me != 0 {
		return fmt.Sprintf("chown %d %s, or run as the user %d", me, path, owner), fmt.Sprintf("%s belongs to the user %d, not to %d", path, owner, me)
	}
	return "", ""
}

func checkSocket(cfg config.Config) Finding {
	const subject = "socket"
	info, err := os.Lstat(cfg.Socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return good(subject, "%s is free", cfg.Socket)
	case err != nil:
		return bad(subject, "run as the user who owns it", "%v", err)
	case info.Mode().Type() != fs.ModeSocket:
		return bad(subject, "remove it, or set socket to another path", "%s is no socket", cfg.Socket)
	}
	if mend, found := exposed(cfg.Socket); mend != "" {
		return bad(subject, mend, "%s", found)
	}
	return good(subject, "%s, mode %04o", cfg.Socket, info.Mode().Perm())
}

// leastFree is what the server should have for its small files where there is no ballast.
const leastFree = 64 << 20

// checkDisk looks at the room for the data, and at the ballast.
func checkDisk(cfg config.Config) Finding {
	path, size := cfg.Database.Ballast()
	subject, folder := "database.ballast_size", filepath.Dir(path)
	if size == 0 {
		subject, folder = "disk", cfg.DataDir
	}
	free, err := ballast.Free(folder)
	if err != nil {
		return bad(subject, "make the folder, or run as the user who owns it", "ask for the room in %s: %v", folder, err)
	}
	held, err := ballast.Held(path)
	wanted := size + ballast.Beside(size) - held
	switch {
	case err != nil:
		return bad(subject, "run as the user who owns it", "look at the ballast: %v", err)
	case size == 0 && free < leastFree:
		return bad(subject, "free "+inBytes(leastFree-free)+" in "+folder, "%s has %s free, and no ballast is kept", folder, inBytes(free))
	case size == 0:
		return good(subject, "%s has %s free; no ballast is kept", folder, inBytes(free))
	case held < size && free < wanted:
		return bad(subject, "free "+inBytes(wanted-free)+" in "+folder,
			"there is no room for the ballast of %s, so changes are refused: %s has %s free", inBytes(size), folder, inBytes(free))
	case held < size:
		return good(subject, "the ballast of %s is made when the server runs; %s has %s free beside it", inBytes(size), folder, inBytes(free-size))
	}
	return good(subject, "the ballast holds %s; %s has %s free beside it", inBytes(held), folder, inBytes(free))
}

// inBytes prints a size for people.
func inBytes(n int64) string {
	const unit = 1 << 10
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, names := float64(n)/unit, []string{"KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; f >= unit && i < len(names)-1; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %s", f, names[i])
}
