package server

import "testing"

// The percentages follow from 40 MiB of growth: 40 of 20 is 200 %, 40 of 40 is 100 %.
func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 300, 4 << 20: 300, 20 << 20: 200, 40 << 20: 100, 200 << 20: 60} {
		if got := gcPercentFor(live); got != want {
			t.Errorf("with %d bytes alive: %d %%, want %d %%", live, got, want)
		}
	}
}
