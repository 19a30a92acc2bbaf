package operation

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/audit"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

// A Call is one request on its way through the pipeline, as a handler sees it.
type Call struct {
	Op        *Bound
	Caller    identity.Caller
	Host      resource.Host
	Scope     resource.Scope // at which the operation's action was asked
	Vault     vaults.Vault   // of the host or path; zero where the operation has none
	Version   Version        // the api-version; zero where the operation takes none
	Query     url.Values
	RequestID string

	pipeline    *Pipeline
	table       *Table
	request     *Request
	path        string // canonical
	params      map[string]string
	arrived     time.Time
	address     string // of the caller, as text
	correlation string
	decision    authz.Decision
	directory   int64 // the directory revision by which the vault was found
	tx          *db.Tx
	endTx       func()
	admission   *admission
	remembered  *db.Tx // the transaction of a call that is answered from memory
	committed   bool   // the change and its entry are durable
	served      served
	granted     granted
	auditName   string // where it is not the operation's own
	created     bool
}

// served is what a handler tells the audit entry.
type served struct {
	collection, object, version string
	pinned                      bool
}

// Param returns a parameter of the path, "" if an optional one is missing.
func (c *Call) Param(name string) string { return c.params[name] }

// BaseURL is "https://" and the host by which the caller came, port included: what ids and links
// of the answer begin with.
func (c *Call) BaseURL() string { return "https://" + c.Host.Text }

// Path is the request's path in canonical form, without the query.
func (c *Call) Path() string { return c.path }

// Tenant is the home tenant's id.
func (c *Call) Tenant() string { return c.pipeline.Authz.Tenant }

// Families are the name families by which the caller may know us: those of its run, or the deployment's.
func (c *Call) Families() resource.Families {
	if run := c.request.Peer.Run; run != nil {
		return run.Families
	}
	return c.pipeline.Families
}

// Header returns a header of the request.
func (c *Call) Header(name string) string { return c.request.Header.Get(name) }

// Address is the caller's address; not valid on the local socket and inside the process.
func (c *Call) Address() netip.Addr { return c.request.Address }

// AddressText is the caller's address as text, "" where it is not valid.
func (c *Call) AddressText() string { return c.address }

// Assignment is the role assignment that allowed the call, or "".
func (c *Call) Assignment() string { return c.decision.Assignment }

// Peer is the connection's peer as the listener saw it.
func (c *Call) Peer() Peer { return c.request.Peer }

// Now is the time of the call's snapshot, or of its arrival where it has none.
func (c *Call) Now() time.Time {
	if c.tx != nil {
		return c.tx.Now
	}
	return c.arrived
}

// IsSystem says whether it is the scheduler that asks.
func (c *Call) IsSystem() bool { return c.Caller.Kind == identity.System }

// SignedIn names the caller of an operation that authenticates by itself, so that it leaves an
// entry and not only a count.
func (c *Call) SignedIn(caller identity.Caller) { c.Caller = caller }

// Served tells the audit entry which object and version the operation served or made, and
// whether the caller had named the version.
func (c *Call) Served(collection, object, version string, pinned bool) {
	c.served = served{collection, audit.Clean(object, 127), audit.Clean(version, 64), pinned}
}

// granted is the right that an operation gave or took, for the audit entry.
type granted struct{ role, principal string }

// Granted tells the audit entry which role the operation gave to or took from whom.
func (c *Call) Granted(role, principal string) { c.granted = granted{role, principal} }

// AuditAs names the operation in the audit entry, where Azure has another name for what the request
// asks of it.
func (c *Call) AuditAs(name string) { c.auditName = name }

// Created says that the operation made what it answers, for those that answer 201 then and 200
// otherwise. It is called before the entry is made: inside Update.
func (c *Call) Created(yes bool) { c.created = yes }

// success is the status of an answer that is no refusal.
func (c *Call) success() int {
	if c.created {
		return http.StatusCreated
	}
	return c.Op.Status
}

// View runs fn over the snapshot from which the request was authorised. Where that is closed, since
// a body had to be read, it is a new one, in which what has moved is decided again.
func (c *Call) View(ctx context.Context, fn func(*db.Tx) error) error {
	if c.tx != nil {
		return fn(c.tx)
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	if err := c.recheck(c.tx); err != nil {
		return err
	}
	return fn(c.tx)
}

// ViewNow runs fn over a new snapshot, for reads that must see what happened since the request
// was authorised.
func (c *Call) ViewNow(ctx context.Context, fn func(*db.Tx) error) error {
	c.end()
	return c.pipeline.DB.View(ctx, func(tx *db.Tx) error {
		if err := c.recheck(tx); err != nil {
			return err
		}
		return fn(tx)
	})
}

// Update runs fn in a transaction whose commit holds the operation's audit entry too. Before fn,
// authorisation and the vault are looked at again if they have changed since the request was
// authorised. A handler calls it once, last. On a full disk it is refused without a try.
//
// fn may run more than once, and still run when the caller's time is over. So each try has a call of
// its own to look at and to tell what it did, and c becomes that of the last one.
func (c *Call) Update(ctx context.Context, fn func(*Call, *db.Tx) error) error {
	c.end()
	if err := c.checkSpace(); err != nil {
		return err
	}
	slot, err := c.enterWrite(ctx)
	if err != nil {
		return err
	}
	defer slot.Leave()
	before, last := *c, c
	err = c.pipeline.DB.Update(ctx, c.Op.locks(c.Vault.ID), func(tx *db.Tx) error {
		try := before
		last = &try
		if err := try.recheck(tx); err != nil {
			return err
		}
		if err := fn(&try, tx); err != nil {
			return err
		}
		entry := try.entry(try.success(), "")
		tx.Record(entry.Encode())
		return nil
	})
	if !errors.Is(err, db.ErrUnavailable) { // after it a try may still run
		*c = *last
	}
	c.committed = err == nil
	return err
}

// Change is Update for an operation that answers with what fn returns: with the value of the last try, and
// with none where it failed, since a try may go on behind a caller whose time is over.
func Change[T any](ctx context.Context, c *Call, fn func(*Call, *db.Tx) (T, error)) (T, error) {
	var last atomic.Pointer[T]
	err := c.Update(ctx, func(c *Call, tx *db.Tx) error {
		v, err := fn(c, tx)
		last.Store(&v)
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return *last.Load(), nil
}

// Require asks for one more right, known only now that the body is read.
func (c *Call) Require(tx *db.Tx, need authz.Need) error {
	snap, err := c.pipeline.Authz.Current(tx)
	if err != nil {
		return err
	}
	if c.decision = snap.Decide(c.Caller.ObjectID, need); !c.decision.Allowed {
		refusal := denied(need)
		refusal.Narrow = need.Role != "" // without it the pipeline had refused already
		return refusal
	}
	return nil
}

// Allowed says whether the caller has a right, for lists that show only what one may see.
func (c *Call) Allowed(tx *db.Tx, need authz.Need) (bool, error) {
	snap, err := c.pipeline.Authz.Current(tx)
	if err != nil {
		return false, err
	}
	return snap.Decide(c.Caller.ObjectID, need).Allowed, nil
}

func denied(need authz.Need) *apierr.Error {
	e := apierr.Forbidden("ForbiddenByRbac", "")
	e.Action, e.Scope = need.Action, need.Scope.Text
	return e
}

// begin opens the call's snapshot if it has none.
func (c *Call) begin(ctx context.Context) (err error) {
	if c.tx == nil {
		c.tx, c.endTx, err = c.pipeline.DB.BeginView(ctx)
	}
	return err
}

// judge runs a check of who asks, and whether he may. Before a body is read, a snapshot would only serve
// the check itself: where this process is the only writer, what is in memory is as current and does as
// well. What comes behind the body is judged again if anything has moved.
func (c *Call) judge(ctx context.Context, check func(context.Context) error) error {
	if c.tx == nil && c.Op != nil && c.Op.hasBody() && c.pipeline.DB.IsAlone() {
		if tx, ok := c.pipeline.DB.Remember(); ok {
			c.tx, c.endTx = tx, func() {}
			err := check(ctx)
			c.end()
			if !errors.Is(err, db.ErrNotRemembered) {
				return err
			}
		}
	}
	return check(ctx)
}

// end closes the call's snapshot.
func (c *Call) end() {
	if c.tx != nil {
		c.endTx()
		c.tx, c.endTx = nil, nil
	}
}

// recheck decides again inside a write's transaction, if anything it was decided by has moved: a
// vault of the same name may be another one by now, in another scope.
func (c *Call) recheck(tx *db.Tx) error {
	if c.Op.Access != Authenticated {
		return nil
	}
	if tx.Revision(db.Directory) == c.directory && tx.Revision(db.Authorisation) == c.decision.Revision {
		return nil
	}
	vault := c.Vault.ID
	if err := c.locate(tx); err != nil {
		return err
	}
	if err := c.authorise(tx); err != nil {
		return err
	}
	if c.Vault.ID != vault && c.Op.Writes&WritesVault != 0 { // the transaction has locked the old one
		return apierr.Conflict("Conflict", "The vault '%s' was replaced by another of that name while the request was under way. Try again.", c.Vault.Name)
	}
	return nil
}

// locate finds what the request speaks of, and lets the network rules have their say.
func (c *Call) locate(tx *db.Tx) (err error) {
	c.directory = tx.Revision(db.Directory)
	if c.Scope, err = c.table.Face.Locate(tx, c); err != nil {
		return err
	}
	return c.table.Face.Admit(c)
}

// authorise decides by the transaction's authorisation. A principal that is gone or disabled is
// no caller any more, whatever its token says.
func (c *Call) authorise(tx *db.Tx) error {
	snap, err := c.pipeline.Authz.Current(tx)
	if err != nil {
		return err
	}
	p, ok := snap.Principal(c.Caller.ObjectID)
	if !ok || !p.Enabled {
		return &identity.TokenError{Reason: identity.UnknownPrincipal, Found: c.Caller.ObjectID}
	}
	c.Caller.Name, c.Caller.Kind = p.Name, p.Kind // the directory knows better than the token
	c.decision = authz.Decision{Allowed: true, Revision: snap.Revision()}
	if c.Op.Action == "" {
		return nil
	}
	need := authz.Need{Action: c.Op.Action, Data: c.table.Face.Data(), Scope: c.Scope}
	if c.decision = snap.Decide(c.Caller.ObjectID, need); !c.decision.Allowed {
		return denied(need)
	}
	return nil
}
