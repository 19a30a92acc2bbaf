package server

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"strongroom/internal/fair"
)

const (
	// widthEvery is after how many commits the width is set anew.
	widthEvery = 256
	// readTime is about the processor time of a read.
	readTime = 80 * time.Microsecond

	leastShared = 4
	mostShared  = 64
)

// A width lets the gate follow the disk: while several callers are about, as many requests are at work
// as keep the processors busy during a commit, and no more, see package fair. The shortest of some
// commits tells how long one takes that does not wait for a processor.
type width struct {
	gate atomic.Pointer[fair.Gate] // nil before there is one

	mu       sync.Mutex
	commits  int           // since the width was set; guarded by mu
	shortest time.Duration // of them; guarded by mu
}

// commit notes a commit that was stored.
func (w *width) commit(took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.commits == 0 || took < w.shortest {
		w.shortest = took
	}
	if w.commits++; w.commits < widthEvery {
		return
	}
	w.commits = 0
	if g := w.gate.Load(); g != nil {
		g.Share(sharedFor(w.shortest, min(runtime.GOMAXPROCS(0), runtime.NumCPU())))
	}
}

// sharedFor is the width for a time of a commit and a number of processors.
func sharedFor(commit time.Duration, processors int) int {
	return min(max(int(commit/readTime)*processors, leastShared), mostShared)
}
