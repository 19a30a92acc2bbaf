//go:build unix

package hostile

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// answeredWithin is within what time any request is answered, whatever the database does: the
// server's request timeout in these tests, and what a slow machine adds.
const answeredWithin = 45 * time.Second

// A bookkeeper writes and reads through a server whose database misbehaves, and remembers what it
// was told.
type bookkeeper struct {
	*served.Server
	t     *testing.T
	proxy *proxy

	mu       sync.Mutex
	told     map[string]bool // values of acknowledged writes; guarded by mu
	unknown  map[string]bool // of writes whose outcome was called unknown
	refusals int             // answers of 503
}

func newBookkeeper(t *testing.T, settings ...string) *bookkeeper {
	t.Helper()
	p, url := newProxy(t, dbtest.NewDatabase(t))
	b := &bookkeeper{t: t, Server: served.New(t, url, settings...), proxy: p, told: map[string]bool{}, unknown: map[string]bool{}}
	b.Start()
	b.Must("PUT", served.VaultHost+"/secrets/read?api-version=7.6", `{"value":"as it was"}`)
	return b
}

// work has writers write and read n times each.
func (b *bookkeeper) work(writers, n int) {
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range n {
				b.write(fmt.Sprintf("secret-%d", w), fmt.Sprintf("value %d of %d", i, w))
				b.read()
			}
		})
	}
	all.Wait()
}

// write stores a value, and remembers what came of it.
func (b *bookkeeper) write(name, value string) {
	began := time.Now()
	status, _, answer, err := b.Call("PUT", served.VaultHost, "/secrets/"+name+"?api-version=7.6", fmt.Sprintf(`{"value":%q}`, value))
	b.judge(status, answer, err, began)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case status == 200:
		b.told[value] = true
	case strings.Contains(string(answer), "look whether it took place"):
		b.unknown[value] = true
	}
}

func (b *bookkeeper) read() {
	began := time.Now()
	status, _, answer, err := b.Call("GET", served.VaultHost, "/secrets/read?api-version=7.6", "")
	b.judge(status, answer, err, began)
	if status == 200 && !strings.Contains(string(answer), "as it was") {
		b.t.Errorf("a read got %s", answer)
	}
}

// judge wants success or the one clear refusal, in bounded time.
func (b *bookkeeper) judge(status int, answer []byte, err error, began time.Time) {
	if took := time.Since(began); took > answeredWithin {
		b.t.Errorf("an answer took %v, want at most %v", took, answeredWithin)
	}
	if status == 503 && strings.Contains(string(answer), `"ServiceUnavailable"`) && strings.Contains(string(answer), "Request id: ") {
		b.mu.Lock()
		b.refusals++
		b.mu.Unlock()
		return
	}
	if err != nil || status != 200 {
		b.t.Errorf("got %d, %v: %s; want 200, or 503 ServiceUnavailable with a request id", status, err, answer)
	}
}

// recovers waits until the server works again without a hand, and compares what is there with what
// was told: nothing acknowledged is missing, nothing is there twice, and nothing that was refused
// is there.
func (b *bookkeeper) recovers(writers int) {
	b.t.Helper()
	b.proxy.set(passing)
	pid := b.PID()
	b.WaitReady()
	working := served.Poll(time.Minute, func() bool {
		status, _, _, _ := b.Call("PUT", served.VaultHost, "/secrets/after?api-version=7.6", `{"value":"x"}`)
		return status == 200
	})
	if !working || b.PID() != pid {
		b.t.Fatalf("the server does not work again: %s", b.Log())
	}
	stored := b.stored(writers)
	for value := range b.told {
		if stored[value] != 1 {
			b.t.Errorf("%q was acknowledged and is there %d times", value, stored[value])
		}
	}
	for value, n := range stored {
		if n != 1 || !b.told[value] && !b.unknown[value] {
			b.t.Errorf("%q is there %d times, acknowledged %v, outcome unknown %v", value, n, b.told[value], b.unknown[value])
		}
	}
	if strings.Contains(b.Log(), "panic") {
		b.t.Errorf("a panic in the log: %s", b.Log())
	}
}

// stored counts the values of all versions of the writers' secrets.
func (b *bookkeeper) stored(writers int) map[string]int {
	b.t.Helper()
	out := map[string]int{}
	for w := range writers {
		path := fmt.Sprintf("/secrets/secret-%d", w)
		for target := served.VaultHost + path + "/versions?api-version=7.6"; target != ""; {
			var page struct {
				Value    []struct{ ID string }
				NextLink string
			}
			b.MustDecode(b.Must("GET", target, ""), &page)
			for _, v := range page.Value {
				var got struct{ Value string }
				b.MustDecode(b.Must("GET", served.VaultHost+path+v.ID[strings.LastIndex(v.ID, "/"):]+"?api-version=7.6", ""), &got)
				out[got.Value]++
			}
			target = strings.Replace(strings.TrimPrefix(page.NextLink, "https://"), ":443/", "/", 1)
		}
	}
	return out
}

// TestDatabaseRefusesStatements lets single statements fail at every place, COMMIT included. Where it
// is every third, no write comes through, since each has more; so it is fewer too.
func TestDatabaseRefusesStatements(t *testing.T) {
	for _, every := range []int64{3, 10, 31} {
		t.Run(fmt.Sprintf("one of %d", every), func(t *testing.T) {
			b := newBookkeeper(t)
			n := 30
			if served.IsLong() {
				n = 1000
			}
			b.proxy.every.Store(every)
			b.proxy.set(refusing)
			b.work(4, n)
			refusals := b.refusals
			b.recovers(4)
			t.Logf("%d of %d statements refused: %d writes acknowledged, %d unknown, %d answers of 503",
				b.proxy.refused.Load(), b.proxy.seen.Load(), len(b.told), len(b.unknown), refusals)
			if refusals == 0 || every > 10 && len(b.told) == 0 {
				t.Error("want refusals, and writes beside them: the test tests nothing")
			}
		})
	}
}

// TestDatabaseStalls lets nothing pass for a while, connections open, in the midst of work.
func TestDatabaseStalls(t *testing.T) {
	for _, tt := range []struct {
		name    string
		settled string // of the server
		stall   time.Duration
		long    bool
	}{
		{"shorter than any limit", "limits.request_timeout=60s", 3 * time.Second, false},
		{"longer than a request may take", "limits.request_timeout=2s", 6 * time.Second, false},
		{"thirty seconds", "limits.request_timeout=20s", 30 * time.Second, true},
	} {
		if tt.long && !served.IsLong() {
			continue // it takes a minute and more
		}
		t.Run(tt.name, func(t *testing.T) {
			b := newBookkeeper(t, tt.settled)
			b.disturbed(func() {
				b.proxy.set(stalling)
				<-time.After(tt.stall)
				b.proxy.set(passing)
			})
			b.recovers(4)
			t.Logf("stalled for %v: %d writes acknowledged, %d unknown, %d answers of 503", tt.stall, len(b.told), len(b.unknown), b.refusals)
		})
	}
}

// TestDatabaseIsCutOff ends all connections and refuses new ones for a while, again and again.
func TestDatabaseIsCutOff(t *testing.T) {
	b := newBookkeeper(t)
	b.disturbed(func() {
		for range 3 {
			b.proxy.set(cut)
			<-time.After(500 * time.Millisecond)
			b.proxy.set(passing)
			<-time.After(500 * time.Millisecond)
		}
	})
	b.recovers(4)
	t.Logf("cut off three times: %d writes acknowledged, %d unknown, %d answers of 503", len(b.told), len(b.unknown), b.refusals)
	if b.refusals == 0 {
		t.Error("no request met the missing database: the test tests nothing")
	}
}

// disturbed has four writers at work before, while and after something is done to the database.
func (b *bookkeeper) disturbed(disturb func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				b.write(fmt.Sprintf("secret-%d", w), fmt.Sprintf("value %d of %d", i, w))
				b.read()
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond): // so that few values are to be compared
				}
			}
		})
	}
	served.Poll(time.Minute, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.told) > 4
	})
	disturb()
	close(done)
	all.Wait()
}
