//go:build linux

// Package disk takes from the built server what it stands on: room on a real disk, at every stage of
// its life, and the database under it. Reads have to go on for the stated reserve, nothing that was
// acknowledged may be missing afterwards, and all has to work again without a hand.
//
// The disk is a small file system in memory. To mount it needs root, or a kernel that lets users have
// a namespace of their own, in which the tests then run. Where neither is allowed, the tests that need
// a disk fail, unless TEST_WITHOUT_DISK is set.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

// inNamespace is set in the environment of the tests in a namespace of their own.
const inNamespace = "TEST_DISK_IN_NAMESPACE"

var mountErr error

func TestMain(m *testing.M) {
	if mountErr = tryMount(); mountErr != nil && os.Getenv(inNamespace) == "" {
		if code, err := inOwnNamespace(); err == nil {
			os.Exit(code)
		}
	}
	dbtest.Main(m)
}

func tryMount() error {
	dir, err := os.MkdirTemp("", "strongroom-disk-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := mount(dir, 1<<20, 0o700); err != nil {
		return err
	}
	return unix.Unmount(dir, 0)
}

func mount(dir string, size int64, mode os.FileMode) error {
	return unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=%o", size, mode))
}

// inOwnNamespace runs the tests again where this user may mount. The user stays who he is, since
// PostgreSQL does not run as root. An error means that it was not allowed.
func inOwnNamespace() (code int, err error) {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	self := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: id, HostID: id, Size: 1}}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: self(os.Getuid()), GidMappings: self(os.Getgid()),
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// A volume is a file system of a fixed size that holds the data folder of a server.
type volume struct {
	t   *testing.T
	dir string
}

// newVolume mounts one at the data folder of a server that has not been started.
func newVolume(t *testing.T, s *served.Server, size int64) *volume {
	t.Helper()
	return mountVolume(t, s.Data(), size, 0o700)
}

func mountVolume(t *testing.T, dir string, size int64, mode os.FileMode) *volume {
	t.Helper()
	if mountErr != nil {
		const hint = "run as root, or allow user namespaces; with TEST_WITHOUT_DISK=1 the test is left out"
		if os.Getenv("TEST_WITHOUT_DISK") != "" {
			t.Skipf("no disk can be mounted here: %v", mountErr)
		}
		t.Fatalf("mount a disk to fill: %v: %s", mountErr, hint)
	}
	v := &volume{t, dir}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mount(v.dir, size, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(v.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return v
}

func (v *volume) filler() string { return filepath.Join(v.dir, "filler") }

// fill takes what is free when it is called, or a little less where the server is faster, and nothing
// of what the server gives up meanwhile. It takes piece by piece, since one big piece that does not
// quite fit would take all for a moment and give it back, again and again.
func (v *volume) fill() {
	v.t.Helper()
	f, err := os.OpenFile(v.filler(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	had, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		v.t.Fatal(err)
	}
	const page = 4 << 10
	room, piece := v.room(), int64(1<<20)
	for room > 0 && piece >= page {
		piece = min(piece, room)
		switch err := unix.Fallocate(int(f.Fd()), 0, had, piece); {
		case err == nil:
			had += piece
			room -= piece
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		case !errors.Is(err, unix.EINTR):
			v.t.Fatal(err)
		}
	}
}

// room is how many bytes are free.
func (v *volume) room() int64 {
	v.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(v.dir, &st); err != nil {
		v.t.Fatal(err)
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// free gives back what fill took.
func (v *volume) free() {
	v.t.Helper()
	if err := os.Remove(v.filler()); err != nil {
		v.t.Fatal(err)
	}
}
