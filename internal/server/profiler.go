package server

import (
	"net/http"
	"net/http/pprof"
	"runtime"
)

// How much of waiting for locks and of blocking a profile sees: one in a hundred events, and what
// blocks for at least ten microseconds on average.
const (
	mutexFraction = 100
	blockRate     = 10_000 // nanoseconds
)

// profiler serves Go's profiles. Those of memory hold sizes and stacks, no contents.
func profiler() http.Handler {
	runtime.SetMutexProfileFraction(mutexFraction)
	runtime.SetBlockProfileRate(blockRate)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	return mux
}
