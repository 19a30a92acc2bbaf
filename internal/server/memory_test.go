package server

import "testing"

// The percentages follow from 32 MiB of growth: 32 of 16 is 200 %, 32 of 32 is 100 %.
func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 300, 4 << 20: 300, 16 << 20: 200, 32 << 20: 100, 200 << 20: 60} {
		if got := gcPercentFor(live); got != want {
			t.Errorf("with %d bytes alive: %d %%, want %d %%", live, got, want)
		}
	}
}
