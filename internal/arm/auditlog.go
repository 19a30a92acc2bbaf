package arm

import (
	"context"
	"errors"
	"strconv"

	"strongroom/internal/apierr"
	"strongroom/internal/audit"
	"strongroom/internal/db"
	"strongroom/internal/operation"
)

// About tells the command line of this machine where it is. It holds no secret.
type About struct {
	Tenant         string `json:"tenant"`
	Subscription   string `json:"subscription"`
	Group          string `json:"group"`
	Region         string `json:"region"`
	ManagementHost string `json:"managementHost"` // hosts with their port where it is not 443
	GraphHost      string `json:"graphHost"`
	LoginHost      string `json:"loginHost"`
	VaultSuffix    string `json:"vaultSuffix"`
	RunVaultSuffix string `json:"runVaultSuffix"`
	Listen         string `json:"listen"`
	CAFile         string `json:"caFile"`
	Version        string `json:"version"`
	AuditKeys      string `json:"auditKeys"` // PEM: the public keys that sign segments of the audit log
}

// An EntryPage is a part of the audit log, in Azure's shape.
type EntryPage struct {
	Value []audit.Record `json:"value"`
	Next  int64          `json:"next"` // the position to go on from
	Last  int64          `json:"last"` // the last position of the log
}

// Names of operations that take no api-version: they are ours alone.
const (
	aboutName      = "About"
	auditEntryName = "AuditEntryList"
)

// maxEntries is the default and the largest number of entries on a page.
const maxEntries = 1000

func (f *Face) declareLog(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: aboutName, Method: "GET", Path: "/about", Access: operation.Local, Audit: operation.Counted,
		Summary: "Tell the command line of this machine which hosts and ids the server has.",
	}, f.getAbout)
	operation.Handle(t, operation.Op{
		Name: auditEntryName, Method: "GET", Path: "/audit/entries",
		Action: "Strongroom/auditEntries/read", Level: operation.TenantLevel,
		Summary: "Read the audit log from a position on (from, limit), in Azure's shape.",
	}, f.listEntries)
}

func (f *Face) getAbout(context.Context, *operation.Call, operation.None) (About, error) {
	return f.about, nil
}

// listEntries numbers what is stored by now, so that nothing durable is missing, and reads.
func (f *Face) listEntries(ctx context.Context, c *operation.Call, _ operation.None) (EntryPage, error) {
	from, err := number(c, "from", 1)
	if err != nil {
		return EntryPage{}, err
	}
	limit, err := number(c, "limit", maxEntries)
	if err != nil {
		return EntryPage{}, err
	}
	if err := f.number(ctx); err != nil {
		return EntryPage{}, err
	}
	page := EntryPage{Value: []audit.Record{}, Next: from}
	err = c.ViewNow(ctx, func(tx *db.Tx) error {
		entries, err := f.archive.Read(tx, from, int(min(limit, maxEntries)))
		if missing, ok := errors.AsType[*audit.MissingSegment](err); ok {
			return apierr.Conflict("AuditSegmentMissing", "%s", missing)
		}
		if err != nil {
			return err
		}
		for _, p := range entries {
			page.Value = append(page.Value, p.Entry.Record(p.Position))
			page.Next = p.Position + 1
		}
		page.Last, err = audit.Last(tx)
		return err
	})
	return page, err
}

func number(c *operation.Call, name string, byDefault int64) (int64, error) {
	text := c.Query.Get(name)
	if text == "" {
		return byDefault, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, apierr.BadRequest("InvalidParameter", "The query parameter %s: want a whole number from 1 on.", name)
	}
	return n, nil
}
