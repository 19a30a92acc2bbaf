package audit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"strongroom/internal/db"
)

// maxCounts bounds how many (address, vault) pairs are told apart in one minute; all others of
// that minute share one count.
const maxCounts = 256

// maxSamplePath cuts the path of a sample: all counts of an hour, each as large as strangers can make
// it, stay below 10 MB.
const maxSamplePath = 128

// A Counter counts requests without a valid token per address, vault and minute, and stores the
// counts as entries once a minute: at most maxCounts+1, however many strangers knock. The first
// request of each pair is kept as a sample: its path, client and the reason of its refusal.
// It may be shared.
type Counter struct {
	mu     sync.Mutex
	counts map[countKey]*Entry // guarded by mu
	rest   Entry               // guarded by mu; Count is zero while nothing is in it
}

type countKey struct{ address, vault string }

// Add counts a refused anonymous request; e is its sample.
func (c *Counter) Add(e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[countKey]*Entry{}
	}
	key := countKey{e.Address, e.Vault}
	if have, ok := c.counts[key]; ok {
		have.Count++
		return
	}
	if len(c.counts) < maxCounts {
		e.Count, e.Path, e.CorrelationID = 1, Clean(e.Path, maxSamplePath), "" // a count has no one request to go with
		c.counts[key] = &e
		return
	}
	if c.rest.Count == 0 {
		c.rest = Entry{Time: e.Time, Operation: e.Operation, Status: e.Status, Node: e.Node}
	}
	c.rest.Count++
}

// drain takes the counts so far.
func (c *Counter) drain() [][]byte {
	c.mu.Lock()
	counts, rest := c.counts, c.rest
	c.counts, c.rest = nil, Entry{}
	c.mu.Unlock()
	var out [][]byte
	for _, e := range counts {
		out = append(out, e.Encode())
	}
	if rest.Count > 0 {
		out = append(out, rest.Encode())
	}
	return out
}

// Run stores the counts each minute until ctx ends, and then once more.
func (c *Counter) Run(ctx context.Context, d *db.DB, log *slog.Logger) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			c.Flush(last, d, log)
			return nil
		case <-tick.C:
			c.Flush(ctx, d, log)
		}
	}
}

// Flush stores the counts so far. What can't be stored is logged and dropped: nobody was let in.
func (c *Counter) Flush(ctx context.Context, d *db.DB, log *slog.Logger) {
	records := c.drain()
	if len(records) == 0 {
		return
	}
	if err := d.Append(ctx, records...); err != nil {
		log.LogAttrs(ctx, slog.LevelWarn, "counts of anonymous requests are lost",
			slog.Int("counts", len(records)), slog.Any("error", err))
	}
}
