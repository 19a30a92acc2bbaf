package main

import (
	"os"
	"testing"
	"time"
)

func TestStatusMiB(t *testing.T) {
	status := []byte("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t     512 kB\n")
	for field, want := range map[string]float64{"VmHWM": 2, "VmRSS": 0.5} {
		if got, err := statusMiB(status, field); err != nil || got != want {
			t.Errorf("statusMiB(%s) = %v, %v, want %v", field, got, err, want)
		}
	}
	if _, err := statusMiB(status, "VmPeak"); err == nil {
		t.Error("a field that is not there was found")
	}
}

// TestCPUTimeGrows looks at this process as at any other.
func TestCPUTimeGrows(t *testing.T) {
	before := cpuTime(os.Getpid())
	if before <= 0 {
		t.Fatalf("cpuTime of this process = %v, want some", before)
	}
	deadline := time.Now().Add(10 * time.Second)
	for cpuTime(os.Getpid()) == before {
		if time.Now().After(deadline) {
			t.Fatal("ten busy seconds used no time")
		}
	}
	if now, most, err := memory(os.Getpid()); err != nil || now <= 0 || most < now {
		t.Errorf("memory of this process = %v, at most %v, %v", now, most, err)
	}
}
