package operation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/fair"
	"strongroom/internal/identity"
)

// Admission is what keeps one caller from slowing the others. Each part may be nil: no limit.
type Admission struct {
	Work      *fair.Gate    // requests of known callers that are at work
	Writes    *fair.Gate    // those of them that wait for the commit of a change
	Anonymous *fair.Limiter // requests without a valid token, by address
	Identity  *fair.Limiter // requests of known callers, by object id
	Vault     *fair.Limiter // requests for a vault, by its id
}

// An admission is how far a request has been let in. Both tries of a request share it, so that it is
// counted once and keeps its place.
type admission struct {
	work    fair.Slot
	known   bool // has its place, and was counted for its caller
	vault   bool // was counted for its vault
	unknown bool // was counted for its address
}

// enter counts a known caller's request and waits for its turn. Those of this machine and the
// scheduler need none: the way in stays open under any load.
func (c *Call) enter(ctx context.Context) (err error) {
	if c.admission.known || c.isFixed() || c.Op != nil && c.Op.Access != Authenticated {
		return nil
	}
	c.admission.known = true
	if err := limit(c.pipeline.Admission.Identity, c.Caller.ObjectID); err != nil {
		return err
	}
	if c.remembered == nil {
		c.end() // who waits must hold no connection that those at work need
	}
	c.admission.work, err = place(ctx, c.pipeline.Admission.Work, c.Caller.ObjectID)
	return err
}

// isFixed says whether the caller is one that no assignment makes.
func (c *Call) isFixed() bool { return c.Caller.Kind == identity.LocalOwner || c.IsSystem() }

// enterVault counts the request for its vault.
func (c *Call) enterVault() error {
	if c.admission.vault || c.Vault.ID == "" || c.isFixed() {
		return nil
	}
	c.admission.vault = true
	return limit(c.pipeline.Admission.Vault, c.Vault.ID)
}

// enterUnknown counts a request that brings no valid token, if it comes from an address.
func (c *Call) enterUnknown() error {
	if c.admission.unknown || !c.request.Address.IsValid() {
		return nil
	}
	c.admission.unknown = true
	return limit(c.pipeline.Admission.Anonymous, fair.AddressKey(c.request.Address))
}

// enterWrite waits for the caller's turn to change something.
func (c *Call) enterWrite(ctx context.Context) (fair.Slot, error) {
	if c.isFixed() || c.Caller.ObjectID == "" {
		return fair.Slot{}, nil
	}
	return place(ctx, c.pipeline.Admission.Writes, c.Caller.ObjectID)
}

// noSpaceRetry is when to come again after a full disk: somebody has to make room.
const noSpaceRetry = 15 * time.Second

// noSpace is the audit log's word for changes that were refused, and counted, because only the reserve
// of the disk is left.
const noSpace = "NoSpace"

// checkSpace refuses a change where only the reserve of the disk is left, which is for the entries of
// reads.
func (c *Call) checkSpace() error {
	if c.pipeline.IsShort == nil || !c.pipeline.IsShort() {
		return nil
	}
	e := apierr.New(apierr.UnavailableKind, "ServiceUnavailable", "The disk of the service is full: until there is room, nothing can be changed. Request id: %s", c.RequestID)
	e.RetryAfter, e.Audit = noSpaceRetry, noSpace
	return e
}

func place(ctx context.Context, g *fair.Gate, key string) (fair.Slot, error) {
	if g == nil {
		return fair.Slot{}, nil
	}
	slot, err := g.Enter(ctx, key)
	if busy, ok := errors.AsType[*fair.BusyError](err); ok {
		return slot, throttled(busy.RetryAfter)
	}
	if err != nil {
		return slot, fmt.Errorf("%w: %w", db.ErrUnavailable, err) // the caller has gone, and nothing was executed
	}
	return slot, nil
}

func limit(l *fair.Limiter, key string) error {
	if after, ok := l.Allow(key, time.Now()); !ok {
		return throttled(after)
	}
	return nil
}

func throttled(after time.Duration) *apierr.Error {
	e := apierr.New(apierr.TooManyKind, "Throttled", "Request was not processed because too many requests were received.")
	e.RetryAfter = after
	return e
}
