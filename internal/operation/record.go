package operation

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/audit"
	"strongroom/internal/db"
	"strongroom/internal/identity"
)

// Limits of what callers can put into the log, in bytes.
const (
	maxCorrelation = 64
	maxClientInfo  = 80
	maxPath        = 512 // a role assignment at a secret has about 350
	maxHost        = 100
)

// An entry may wait to be stored until the request's time is over, or recordFor where it has no end;
// recordAtLeast is for a request that has next to none left.
const (
	recordFor     = 30 * time.Second
	recordAtLeast = time.Second
)

// record makes the audit entry of a read or a refusal durable. It returns what the answer is to
// be: the outcome so far, or, if the entry can't be stored, the reason why nothing is answered. An
// answer from memory that needs no entry has nothing that proves it: where others write too, it is
// db.ErrStale.
func (c *Call) record(ctx context.Context, outcome error) error {
	if c.committed {
		return outcome
	}
	e, refused := c.outcome(ctx, outcome)
	if refused != nil {
		outcome = refused
	}
	switch {
	case refused != nil && refused.Kind == apierr.TooManyKind:
		e.Operation = "Throttled"
		c.pipeline.Counter.Add(e) // an entry each would be the load that is to be kept away
		return outcome
	case c.Caller.ObjectID == "", refused == nil && c.Op != nil && c.Op.Audit == Counted:
		if c.remembered != nil && !c.pipeline.DB.IsAlone() {
			return db.ErrStale
		}
		if refused != nil {
			e.Operation, e.Vault = "Authentication", audit.Clean(c.Host.Vault, 24)
			c.pipeline.Counter.Add(e)
		}
		return outcome
	case refused != nil && refused.Audit == noSpace:
		e.Operation = noSpace
		c.pipeline.Counter.Add(e) // an entry each would use up what is kept for reads
		return outcome
	case refused != nil && refused.Kind == apierr.UnavailableKind:
		return outcome // nothing was executed, and there is nowhere to write
	}
	err := c.store(ctx, e)
	if err == nil || errors.Is(err, db.ErrStale) {
		return cmp.Or(err, outcome)
	}
	return c.refusal(ctx, err)
}

// outcome is the entry of how the call went, and the refusal if it is one.
func (c *Call) outcome(ctx context.Context, err error) (audit.Entry, *apierr.Error) {
	if err == nil {
		return c.entry(c.success(), ""), nil
	}
	refused := c.refusal(ctx, err)
	status, _ := c.table.Face.Refuse(c, refused, http.Header{})
	e := c.entry(status, cmp.Or(refused.Audit, refused.Code))
	e.MissingAction, e.MissingScope = refused.Action, audit.Clean(refused.Scope, maxPath)
	return e, refused
}

// store makes an entry durable, even if the caller has hung up meanwhile.
func (c *Call) store(ctx context.Context, e audit.Entry) error {
	wait := recordFor
	if end, ok := ctx.Deadline(); ok {
		wait = max(recordAtLeast, time.Until(end))
	}
	ctx, cancel := Within(context.WithoutCancel(ctx), wait)
	defer cancel()
	if c.remembered != nil {
		return c.pipeline.DB.AppendProven(ctx, c.remembered, c.Caller.Expires, e.Encode())
	}
	return c.pipeline.DB.Append(ctx, e.Encode())
}

// entry is the audit entry of the call as it stands.
func (c *Call) entry(status int, code string) audit.Entry {
	e := audit.Entry{
		Time: c.arrived, Duration: time.Since(c.arrived), RequestID: c.RequestID, CorrelationID: c.correlation,
		Operation: "Unknown", APIVersion: c.Version.Text, Method: audit.Clean(c.request.Method, 16),
		Host: audit.Clean(c.Host.Text, maxHost), Path: audit.Clean(c.path, maxPath), Status: int64(status), Code: code,
		Assignment: c.decision.Assignment, Revision: c.decision.Revision,
		PrincipalKind: string(c.Caller.Kind), ObjectID: c.Caller.ObjectID, AppID: c.Caller.AppID,
		Principal: audit.Clean(c.Caller.Name, 64), CredentialID: c.Caller.CredentialID, TokenID: c.Caller.TokenID,
		VaultID: c.Vault.ID, Vault: c.Vault.Name,
		Subscription: c.Vault.Subscription, Group: c.Vault.Group,
		GrantedRole: c.granted.role, GrantedTo: c.granted.principal,
		Collection: c.served.collection, Object: c.served.object, Version: c.served.version, Pinned: c.served.pinned,
		Address: c.AddressText(), ClientInfo: audit.Clean(c.request.Header.Get("User-Agent"), maxClientInfo),
		TLS: c.request.TLS, Node: c.pipeline.Node,
	}
	if c.Op != nil {
		e.Operation = cmp.Or(c.auditName, c.Op.Name)
	}
	return e
}

// correlationID is the caller's id of a request, from the first header that has one.
func correlationID(h http.Header) string {
	for _, name := range []string{"x-ms-client-request-id", "client-request-id", "x-ms-correlation-request-id"} {
		if id := h.Get(name); id != "" {
			return audit.Clean(id, maxCorrelation)
		}
	}
	return ""
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

// System is the caller of scheduled work.
func System() *identity.Caller {
	return &identity.Caller{ObjectID: identity.SystemID, Kind: identity.System, Name: "system"}
}

// LocalOwner is the caller on the local socket whose user owns the data folder.
func LocalOwner() *identity.Caller {
	return &identity.Caller{ObjectID: identity.LocalOwnerID, Kind: identity.LocalOwner, Name: "local owner"}
}
