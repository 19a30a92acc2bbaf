package fair

import (
	"fmt"
	"testing"
	"time"
)

const benchKey = "11111111-2222-4333-8444-555555555555"

// keys are what a busy server sees in turn.
func benchKeys() []string {
	keys := make([]string, 64)
	for i := range keys {
		keys[i] = fmt.Sprintf("%08d%s", i, benchKey[8:])
	}
	return keys
}

func BenchmarkGateUncontended(b *testing.B) {
	g := NewGate(Limits{Inside: 64, Shared: 12, Waiting: 1024})
	b.ReportAllocs()
	for b.Loop() {
		slot, _ := g.Enter(b.Context(), benchKey)
		slot.Leave()
	}
}

func BenchmarkGateManyKeys(b *testing.B) {
	g, keys := NewGate(Limits{Inside: 64, Shared: 12, Waiting: 1024}), benchKeys()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		slot, _ := g.Enter(b.Context(), keys[i%len(keys)])
		slot.Leave()
	}
}

func BenchmarkGateParallel(b *testing.B) {
	g := NewGate(Limits{Inside: 64, Shared: 12, Waiting: 1024})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			slot, _ := g.Enter(b.Context(), benchKey)
			slot.Leave()
		}
	})
}

// BenchmarkGateContended has each request wait for another: the price of the queue.
func BenchmarkGateContended(b *testing.B) {
	g := NewGate(Limits{Inside: 2, Waiting: 1024})
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			slot, err := g.Enter(b.Context(), benchKey)
			if err != nil {
				b.Error(err)
			}
			slot.Leave()
		}
	})
}

func BenchmarkLimiter(b *testing.B) {
	l, keys, now := NewLimiter(1000, 1000, 1<<16), benchKeys(), time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Millisecond)
		l.Allow(keys[i%len(keys)], now)
	}
}

func BenchmarkLimiterFlood(b *testing.B) {
	l, now := NewLimiter(10, 10, 1<<16), time.Now()
	var key [8]byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key[0], key[1], key[2], key[3] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24)
		l.Allow(string(key[:]), now)
	}
}
