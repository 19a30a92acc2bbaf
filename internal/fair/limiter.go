package fair

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"
)

// shards is into how many parts with a lock each a Limiter is cut.
const shards = 16

// A Limiter holds a token bucket for each key: burst requests at once, then rate a second. Keys
// are kept as keyed hashes, so that a long key costs no more than a short one; that two keys share
// a bucket is as likely as a collision of 64 bits that nobody can aim at.
//
// The number of buckets is bounded. Full buckets are forgotten with use, which changes nothing.
// Where there are none and a new key comes, the bucket is forgotten that would be full soonest,
// which changes least: a flood of new keys pushes out its own, not that of a caller who has used
// his up.
//
// It may be shared. A nil Limiter allows everything.
type Limiter struct {
	interval int64 // nanoseconds in which a token comes
	depth    int64 // nanoseconds in which an empty bucket fills
	perShard int
	seed     maphash.Seed
	base     time.Time // instants are kept as nanoseconds since
	shards   []shard
}

// A shard is a heap of buckets, the fullest at the top, and an index of it.
type shard struct {
	mu    sync.Mutex
	heap  []bucket       // guarded by mu
	index map[uint64]int // key to place in heap; guarded by mu
	_     [64]byte       // neighbours' locks are on other cache lines
}

// A bucket is full from the instant full on; before, it lacks one token for each interval that
// is still to go.
type bucket struct {
	key  uint64
	full int64
}

// NewLimiter makes a limiter for at most the given number of keys, at about 64 bytes each. A rate
// (requests a second) of 0 or less makes none: it returns nil. burst and keys are at least 1.
func NewLimiter(rate float64, burst, keys int) *Limiter {
	if !(rate > 0) {
		return nil
	}
	burst, keys = max(burst, 1), max(keys, 1)
	// The bounds keep all sums below within 64 bits.
	depth := min(max(float64(burst)/rate*float64(time.Second), float64(burst)), math.MaxInt64/8)
	interval := int64(depth / float64(burst))
	n := min(shards, keys)
	l := &Limiter{
		interval: interval, depth: interval * int64(burst), perShard: keys / n,
		seed: maphash.MakeSeed(), base: time.Now(), shards: make([]shard, n),
	}
	for i := range l.shards {
		l.shards[i].index = map[uint64]int{}
	}
	return l
}

// Allow takes a token of the key's bucket. Without one it says after which time there will be
// one; such a request takes nothing. now should be fresh from time.Now: with its monotonic
// reading, steps of the clock do not matter. Without, a step forward fills the buckets, and a step
// back empties those that were not full.
func (l *Limiter) Allow(key string, now time.Time) (retryAfter time.Duration, ok bool) {
	if l == nil {
		return 0, true
	}
	hash := maphash.String(l.seed, key)
	s := &l.shards[hash%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allow(l, hash, int64(now.Sub(l.base)))
}

// AddressKey is the key by which callers are told apart by address: an IPv4 address, or the /64
// network of an IPv6 address, since a stranger has all addresses of one.
func AddressKey(a netip.Addr) string {
	a = a.Unmap()
	if a.Is6() {
		b := a.As16()
		return string(b[:8])
	}
	return string(a.AsSlice())
}

// Keys is how many buckets there are, for metrics.
func (l *Limiter) Keys() int {
	if l == nil {
		return 0
	}
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.heap)
		s.mu.Unlock()
	}
	return n
}

func (s *shard) allow(l *Limiter, key uint64, now int64) (time.Duration, bool) {
	for range 2 { // so that the table shrinks while it is used
		if len(s.heap) > 0 && s.heap[0].full <= now {
			s.drop()
		}
	}
	i, known := s.index[key]
	if !known {
		i = s.add(l, key, now)
	}
	// A bucket lacks no more than it holds; more shows that the clock went back.
	full := min(max(s.heap[i].full, now), now+l.depth)
	short := full + l.interval - l.depth - now
	if short <= 0 {
		full += l.interval
	}
	s.heap[i].full = full
	s.down(i)
	s.up(i)
	return time.Duration(max(short, 0)), short <= 0
}

// add makes room and a place for a new key at the end of the heap.
func (s *shard) add(l *Limiter, key uint64, now int64) int {
	if len(s.heap) >= l.perShard {
		s.drop()
	}
	s.heap = append(s.heap, bucket{key: key, full: now})
	s.index[key] = len(s.heap) - 1
	return len(s.heap) - 1
}

// drop forgets the bucket at the top.
func (s *shard) drop() {
	last := len(s.heap) - 1
	delete(s.index, s.heap[0].key)
	if last > 0 {
		s.heap[0] = s.heap[last]
		s.index[s.heap[0].key] = 0
	}
	s.heap = s.heap[:last]
	s.down(0)
}

func (s *shard) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if s.heap[parent].full <= s.heap[i].full {
			return
		}
		s.swap(i, parent)
		i = parent
	}
}

func (s *shard) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.heap) {
			return
		}
		if child+1 < len(s.heap) && s.heap[child+1].full < s.heap[child].full {
			child++
		}
		if s.heap[i].full <= s.heap[child].full {
			return
		}
		s.swap(i, child)
		i = child
	}
}

func (s *shard) swap(i, j int) {
	s.heap[i], s.heap[j] = s.heap[j], s.heap[i]
	s.index[s.heap[i].key], s.index[s.heap[j].key] = i, j
}
