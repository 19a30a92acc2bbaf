package fair

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A bucket is one that is counted plainly, with fractions.
type plainBucket struct {
	tokens float64
	at     time.Time
}

func (b *plainBucket) allow(rate, burst float64, now time.Time) bool {
	b.tokens = min(burst, b.tokens+rate*now.Sub(b.at).Seconds())
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// Against a plain token bucket, at random instants; what Retry-After says is exact.
func TestLimiterIsATokenBucket(t *testing.T) {
	const burst = 5
	r := rand.New(rand.NewPCG(7, 7))
	for _, rate := range []float64{0.5, 4, 1000} {
		now := time.Now()
		plain, limiters := map[string]*plainBucket{}, map[string]*Limiter{}
		for range 20_000 {
			// Eighths of an interval are exact in both, so that no rounding differs.
			now = now.Add(time.Duration(r.IntN(4)) * time.Duration(float64(time.Second)/rate/8))
			key := fmt.Sprint(r.IntN(3))
			if plain[key] == nil {
				plain[key], limiters[key] = &plainBucket{burst, now}, NewLimiter(rate, burst, 100)
			}
			l := limiters[key] // one each, since checkRetry looks ahead
			want := plain[key].allow(rate, burst, now)
			after, got := l.Allow(key, now)
			if got != want && math.Abs(plain[key].tokens-1) > 1e-6 {
				t.Fatalf("rate %g: Allow = %v, want %v", rate, got, want)
			}
			if got != (after == 0) {
				t.Fatalf("rate %g: Allow = %s, %v", rate, after, got)
			}
			if !got {
				checkRetry(t, l, key, now, after)
			}
		}
	}
}

// checkRetry asks just before there is to be a token, since a refusal takes nothing.
func checkRetry(t *testing.T, l *Limiter, key string, now time.Time, after time.Duration) {
	t.Helper()
	if left, ok := l.Allow(key, now.Add(after-1)); ok || left != 1 {
		t.Errorf("just before the time: %s, %v, want 1ns and a refusal", left, ok)
	}
}

func TestLimiterOff(t *testing.T) {
	for _, l := range []*Limiter{nil, NewLimiter(0, 1, 1), NewLimiter(-1, 1, 1), NewLimiter(math.NaN(), 1, 1)} {
		for range 1000 {
			if after, ok := l.Allow("a", time.Time{}); after != 0 || !ok {
				t.Fatalf("Allow = %s, %v, want 0, true", after, ok)
			}
		}
		if got := l.Keys(); got != 0 {
			t.Errorf("Keys = %d, want 0", got)
		}
	}
}

// Figures at the edge neither overflow nor divide by nothing.
func TestLimiterExtremes(t *testing.T) {
	for _, tt := range []struct {
		rate    float64
		burst   int
		allowed int // of 10 at one instant
	}{
		{1, 0, 1},
		{1, -1, 1},
		{1e-300, 3, 3},
		{1e300, 3, 3},
		{math.Inf(1), 3, 3},
		{1, math.MaxInt, 10},
	} {
		l, now, got := NewLimiter(tt.rate, tt.burst, 0), time.Now(), 0
		for range 10 {
			if _, ok := l.Allow("a", now); ok {
				got++
			}
		}
		if got != tt.allowed {
			t.Errorf("rate %g, burst %d: %d of 10 allowed, want %d", tt.rate, tt.burst, got, tt.allowed)
		}
	}
}

// A clock that steps a day back costs a key one interval at most, and one that steps ahead
// forgives what was used.
func TestLimiterClockSteps(t *testing.T) {
	l, now := NewLimiter(1, 3, 100), time.Now()
	l.Allow("a", now)
	now = now.Add(-24 * time.Hour)
	if after, ok := l.Allow("a", now); ok || after != time.Second {
		t.Errorf("after a step back: %s, %v, want 1s and a refusal", after, ok)
	}
	if _, ok := l.Allow("a", now.Add(time.Second)); !ok {
		t.Error("refused a second after")
	}
	for range 3 {
		if _, ok := l.Allow("a", now.Add(48*time.Hour)); !ok {
			t.Error("refused after a step ahead")
		}
	}
}

func TestLimiterForgets(t *testing.T) {
	fill := func(t *testing.T) (*Limiter, time.Time) {
		l, now := NewLimiter(1, 4, 1), time.Now() // one bucket
		for range 4 {
			l.Allow("spent", now)
		}
		return l, now
	}
	t.Run("full ones, which changes nothing", func(t *testing.T) {
		l, now := fill(t)
		l.Allow("new", now.Add(4*time.Second))
		if got := l.Keys(); got != 1 {
			t.Errorf("Keys = %d, want 1", got)
		}
	})
	t.Run("else the one that is full soonest", func(t *testing.T) {
		l, now := NewLimiter(1, 4, 16*8), time.Now()
		for i := range 40 {
			for range 4 {
				l.Allow(fmt.Sprint("spent", i), now)
			}
		}
		spent := 0
		for i := range 10_000 { // strangers, one request each
			l.Allow(fmt.Sprint("stranger", i), now)
		}
		for i := range 40 {
			if _, ok := l.Allow(fmt.Sprint("spent", i), now); !ok {
				spent++
			}
		}
		// Some shards may have had more than their 8 of the 40.
		if spent < 30 {
			t.Errorf("%d of 40 are still out of tokens after a flood, want at least 30", spent)
		}
	})
}

// The table stays within its bound under a flood, and shrinks with use after it.
func TestLimiterBounds(t *testing.T) {
	const keys = 4096
	l, now := NewLimiter(10, 10, keys), time.Now()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 200_000 {
		if _, ok := l.Allow(fmt.Sprint("stranger", i), now); !ok {
			t.Fatal("a new key was refused")
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := l.Keys(); got > keys {
		t.Errorf("Keys = %d, want at most %d", got, keys)
	}
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 128*keys {
		t.Errorf("%d bytes for %d keys, want at most 128 each", got, keys)
	}
	now = now.Add(time.Minute)
	for i := range 2 * keys {
		l.Allow(fmt.Sprint("later", i%100), now)
		now = now.Add(time.Second)
	}
	if got := l.Keys(); got > keys/2 {
		t.Errorf("Keys = %d after the flood, want far fewer than %d", got, keys)
	}
	checkHeaps(t, l)
}

func checkHeaps(t *testing.T, l *Limiter) {
	t.Helper()
	for i := range l.shards {
		s := &l.shards[i]
		if len(s.heap) != len(s.index) || len(s.heap) > l.perShard {
			t.Errorf("%d buckets, %d in the index, want at most %d", len(s.heap), len(s.index), l.perShard)
		}
		for j, b := range s.heap {
			if s.index[b.key] != j || s.heap[(j-1)/2].full > b.full && j > 0 {
				t.Errorf("bucket %d is out of place", j)
			}
		}
	}
}

// Of one instant's requests, from many goroutines, exactly the burst is allowed.
func TestLimiterManyGoroutines(t *testing.T) {
	l, now := NewLimiter(1, 100, 1000), time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	allowed := map[string]int{}
	for range 16 {
		wg.Go(func() {
			for i := range 1000 {
				key := fmt.Sprint(i % 5)
				if _, ok := l.Allow(key, now); ok {
					mu.Lock()
					allowed[key]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for key, n := range allowed {
		if n != 100 {
			t.Errorf("key %s: %d allowed, want 100", key, n)
		}
	}
	checkHeaps(t, l)
}

func TestAddressKey(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::1", true},
	} {
		a, b := AddressKey(netip.MustParseAddr(tt.a)), AddressKey(netip.MustParseAddr(tt.b))
		if (a == b) != tt.same {
			t.Errorf("keys of %s and %s: %x, %x, want the same: %v", tt.a, tt.b, a, b, tt.same)
		}
	}
	if got := AddressKey(netip.Addr{}); got != "" {
		t.Errorf("key of no address = %q, want none", got)
	}
}
