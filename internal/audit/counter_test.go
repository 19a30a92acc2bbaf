package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

func anonymous(address, vault, path string) Entry {
	return Entry{
		Time: time.UnixMicro(1).UTC(), Operation: "Authentication", Status: 401, Address: address, Vault: vault, Path: path, Node: "n1",
	}
}

// Strangers cannot fill the log: ten thousand of them leave at most 257 records, which still say
// how many requests there were.
func TestCounterIsBounded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := &Counter{}
		const strangers, requests = 10000, 2
		var wg sync.WaitGroup
		for part := range 4 {
			wg.Go(func() {
				for i := part; i < strangers; i += 4 {
					for range requests {
						c.Add(anonymous(fmt.Sprint("address-", i), "v1", "/secrets/a"))
					}
				}
			})
		}
		wg.Wait()
		if n := len(c.counts); n != maxCounts {
			t.Errorf("%d counts in memory, want %d", n, maxCounts)
		}
		c.Flush(t.Context(), d, slog.New(slog.DiscardHandler))
		c.Flush(t.Context(), d, slog.New(slog.DiscardHandler)) // nothing is left for a second time
		number(t, d)
		entries := read(t, d, 1, 1000)
		total := int64(0)
		for _, p := range entries {
			total += p.Entry.Count
			if p.Entry.Address == "" && (p.Entry.Vault != "" || p.Entry.Path != "" || p.Entry.Status != 401) {
				t.Errorf("the common count shows one stranger's request: %+v", p.Entry)
			}
		}
		if len(entries) != 257 || total != strangers*requests {
			t.Errorf("%d entries that stand for %d requests, want 257 for %d", len(entries), total, strangers*requests)
		}
	})
}

// The first request of an address and vault is the sample; vaults are told apart.
func TestCounterKeepsSamples(t *testing.T) {
	c := &Counter{}
	c.Add(anonymous("a", "v1", "/first"))
	c.Add(anonymous("a", "v1", "/second"))
	c.Add(anonymous("a", "v2", "/third"))
	got := map[string]int64{}
	for _, b := range c.drain() {
		e, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		got[e.Vault+e.Path] = e.Count
		if r := e.Record(1); !r.Properties.CountedAsSamples || r.Properties.Count != e.Count {
			t.Errorf("record %+v does not say that it is a count", r.Properties)
		}
	}
	if len(got) != 2 || got["v1/first"] != 2 || got["v2/third"] != 1 {
		t.Errorf("counts = %v, want v1/first twice and v2/third once", got)
	}
}

// Run stores what is left when it ends.
func TestCounterFlushesAtTheEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := &Counter{}
		c.Add(anonymous("a", "v1", "/secrets/a"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Run(ctx, d, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		number(t, d)
		if got := read(t, d, 1, 10); len(got) != 1 || got[0].Entry.Count != 1 {
			t.Errorf("entries = %+v, want the one count", got)
		}
	})
}

// What can't be stored is dropped with a word in the log, so that it does not pile up.
func TestCounterDropsWhatCannotBeStored(t *testing.T) {
	d, err := db.Open(t.Context(), dbtest.SQLiteOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	c := &Counter{}
	c.Add(anonymous("a", "v1", "/secrets/a"))
	var log bytes.Buffer
	c.Flush(t.Context(), d, slog.New(slog.NewTextHandler(&log, nil)))
	if !strings.Contains(log.String(), "counts=1") || len(c.drain()) != 0 {
		t.Errorf("log = %q, want a word about one lost count", log.String())
	}
}
