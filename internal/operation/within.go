package operation

import (
	"context"
	"sync"
	"time"
)

// Within is context.WithTimeout with a timer that starts when somebody begins to wait: most requests
// are answered from memory, and wait for nothing but their entry.
func Within(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	c := &within{Context: parent, end: time.Now().Add(d)}
	if end, ok := parent.Deadline(); ok && end.Before(c.end) {
		c.end = end
	}
	return c, c.cancel
}

type within struct {
	context.Context // the parent
	end             time.Time

	mu    sync.Mutex
	timed context.Context    // guarded by mu: what is waited for; nil before
	stop  context.CancelFunc // guarded by mu: of timed
	over  bool               // guarded by mu: cancelled before anybody waited
}

func (c *within) Deadline() (time.Time, bool) { return c.end, true }

func (c *within) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.stop = context.WithDeadline(c.Context, c.end)
		if c.over {
			c.stop()
		}
	}
	return c.timed.Done()
}

func (c *within) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.timed != nil:
		return c.timed.Err()
	case c.over:
		return context.Canceled
	case !time.Now().Before(c.end):
		return context.DeadlineExceeded
	}
	return c.Context.Err()
}

// Value asks what is waited for, so that a context made from this one finds by what it ends and needs
// no goroutine to watch it.
func (c *within) Value(key any) any {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}

func (c *within) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.stop != nil {
		c.stop()
	}
}
