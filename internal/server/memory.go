package server

import (
	"context"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// The heap may grow by gcRoom bytes between two collections, but not to more than what gcMost, nor to
// less than what gcLeast, percent of what lives would be. Go's own 100 % collects a small heap at every
// few megabytes, which costs a tenth of the time; 300 % of a large one would be memory for nothing.
// GOGC in the environment takes precedence.
const (
	gcRoom  = 32 << 20
	gcLeast = 60
	gcMost  = 300
)

// gcPercentFor is the percentage by which a heap may grow of which so many bytes live.
func gcPercentFor(live uint64) int {
	return int(min(gcMost, max(gcLeast, gcRoom*100/max(1, live))))
}

// paceCollections follows the size of the heap until ctx ends.
func paceCollections(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for set := gcMost; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		runtimemetrics.Read(live)
		if want := gcPercentFor(live[0].Value.Uint64()); want > set+set/10 || want < set-set/10 { // it stops all for a moment
			set = want
			debug.SetGCPercent(set)
		}
	}
}
