// Package ballast keeps room for the day on which the disk is full.
//
// Every answer needs an audit entry that is on disk before it leaves. On a full disk nothing could be
// read any more, and whatever fills it, a log of another program or a careless copy, would stop the
// service. So a file takes up room while there is some. When the disk runs full the file is given up:
// from then on changes are refused, and entries of reads go into what it had held. When there is
// room for the file and a quarter of it beside, it is made again and changes go on, without a hand.
//
// The file is really allocated, and where the file system cannot do that, filled with bytes that do
// not compress. If the process dies while it is made, a shorter one is left, which the next start
// takes for none.
package ballast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// LookEvery is how often Run looks at the disk.
const LookEvery = time.Second

// Beside is how much has to be free beside a ballast of the size before it is made, so that it is not
// given up again at once.
func Beside(size int64) int64 { return size / 4 }

// low is how little may be free beside the ballast before it is given up, although nothing has failed
// yet: what is written between two looks, and what else the server writes.
func low(size int64) int64 { return min(size/16, 4<<20) }

// A Ballast may be shared. A nil one is one that is switched off: it never gives anything up.
type Ballast struct {
	path string
	size int64
	log  *slog.Logger

	held atomic.Bool
	mu   sync.Mutex // held while the file is made or given up
}

// Open finds or makes the file. Where there is no room for it, it counts as given up, and that is no
// error. A size of zero removes a file that was there, and returns nil.
func Open(path string, size int64, log *slog.Logger) (*Ballast, error) {
	if size == 0 {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil // on a disk that is read-only even the removal of nothing fails
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove the ballast: %w", err)
		}
		return nil, nil
	}
	b := &Ballast{path: path, size: size, log: log}
	had, err := Held(path)
	if err != nil {
		return nil, fmt.Errorf("look at the ballast: %w", err)
	}
	if b.held.Store(had >= size); had > size { // it was larger: the rest is free
		if err := os.Truncate(path, size); err != nil {
			return nil, fmt.Errorf("shorten the ballast: %w", err)
		}
	}
	if b.Look(); !b.held.Load() {
		b.removed() // what is left of a shorter one is of use now
		free, _ := Free(filepath.Dir(path))
		b.warn("there is no room for the ballast", free)
	}
	return b, nil
}

// Held is how many bytes the file at path takes up on its disk; zero where there is none.
func Held(path string) (int64, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return allocated(st), nil
}

// Bytes is how much is held now.
func (b *Ballast) Bytes() int64 {
	if b == nil || !b.held.Load() {
		return 0
	}
	return b.size
}

// IsShort says whether the ballast is given up: only what must be stored should be.
func (b *Ballast) IsShort() bool { return b != nil && !b.held.Load() }

// GiveUp frees the room. It says whether that has made a difference.
func (b *Ballast) GiveUp() bool {
	if b == nil || !b.held.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.held.Load() {
		return true // somebody else has just done it
	}
	return b.giveUp("the disk is full")
}

// giveUp is called with mu held.
func (b *Ballast) giveUp(why string) bool {
	free, _ := Free(filepath.Dir(b.path))
	if !b.removed() {
		return false
	}
	b.held.Store(false)
	b.warn(why, free)
	return true
}

// warn says what an operator can do.
func (b *Ballast) warn(why string, free int64) {
	b.log.Error(why+": changes are refused until there is room; reads go on while the reserve lasts",
		slog.String("folder", filepath.Dir(b.path)), slog.Int64("free_bytes", free),
		slog.Int64("reserve_bytes", b.size), slog.Int64("wanted_free_bytes", b.size+Beside(b.size)))
}

func (b *Ballast) removed() bool {
	err := os.Remove(b.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Error("the ballast cannot be given up", slog.String("file", b.path), slog.Any("error", err))
		return false
	}
	return true
}

// Run looks at the disk from time to time until ctx ends.
func (b *Ballast) Run(ctx context.Context) error {
	if b == nil {
		return nil
	}
	tick := time.NewTicker(LookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			b.Look()
		}
	}
}

// Look gives the ballast up if there is next to nothing left beside it, and makes it if there is room
// again.
func (b *Ballast) Look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	free, err := Free(filepath.Dir(b.path))
	if err != nil {
		b.log.Warn("the room on the disk is not known", slog.String("folder", filepath.Dir(b.path)), slog.Any("error", err))
		return
	}
	switch held := b.held.Load(); {
	case held && free < low(b.size):
		b.giveUp("the disk is nearly full")
	case !held && free >= b.size+Beside(b.size):
		if err := b.make(); err != nil { // somebody else was faster; the next look tries again
			b.log.Warn("the ballast cannot be made", slog.String("file", b.path), slog.Any("error", err))
			b.removed()
			return
		}
		b.held.Store(true)
		b.log.Info("the ballast is held: changes are allowed", slog.String("file", b.path), slog.Int64("bytes", b.size))
	}
}

// make fills the file and syncs it.
func (b *Ballast) make() error {
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, b.size)
	if errors.Is(err, errors.ErrUnsupported) {
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), b.size)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
