package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// auditPage is how many entries are asked for at once, and tailEvery how often new ones.
const (
	auditPage = 500
	tailEvery = time.Second
)

func (a *app) auditGroup() *cobra.Command {
	return a.group("audit", "Read the audit log, one JSON object a line as Azure Monitor has it, or a table",
		"  strongroom audit tail --output table\n  strongroom audit export > audit.jsonl",
		auditFlags,
		spec{
			use: "tail", short: "Print the last entries, then each new one as it comes",
			long: "Print the last entries, then each new one as it comes. The entries that reading the log makes are\n" +
				"left out, or each look would show the one before; export has them.",
			example: "  strongroom audit tail --lines 100",
			flags:   func(f *pflag.FlagSet) { f.Int64("lines", 10, "how many of the last entries to begin with") },
			run:     (*call).tailAudit,
		},
		spec{
			use: "export", short: "Print all entries up to now, or those from a position on",
			example: "  strongroom audit export --from 1000 > audit.jsonl",
			flags:   func(f *pflag.FlagSet) { f.Int64("from", 1, "the first position") },
			run:     (*call).exportAudit,
		},
		spec{
			use: "key", short: "Print the public key by which segments of the log are verified",
			long: "Print the public key, in PEM, by which segments of the log are verified. Keep it with the segments\n" +
				"that you carry away, or better apart from them.",
			example: "  strongroom audit key > audit-key.pem",
			run:     (*call).printAuditKey,
		},
		spec{
			use: "verify FILE [FILE...]", short: "Prove segments of the log, without a server",
			long: "Prove files of the audit log that have left the database (audit.segment_dir): that they are whole, as\n" +
				"they were closed, signed by this deployment's key, and one range without a gap if there are several.",
			example: "  strongroom audit verify --key audit-key.pem /archive/*.segment\n" +
				"  strongroom audit verify --key audit-key.pem --print /archive/*.segment > audit.jsonl",
			flags: func(f *pflag.FlagSet) {
				f.String("key", "", "a file with the public key, as \"strongroom audit key\" prints it; without it the server is asked")
				f.Bool("print", false, "print the entries, one JSON object a line")
			},
			run: (*call).verifySegments,
		},
	)
}

// auditFlags are connectionFlags with another default: the log is read by programs first.
func auditFlags(f *pflag.FlagSet) {
	connectionFlags(f)
	output := f.Lookup("output")
	output.Usage, output.DefValue = "how entries are printed: json, an object a line as on the wire, or table", "json"
	_ = output.Value.Set("json") // a text takes any
}

// auditView is what a table shows of an entry.
var auditView = view{
	{title: "Time", path: "time"},
	{title: "Status", path: "properties.httpStatusCode"},
	{title: "Operation", path: "operationName"},
	{title: "Code", path: "properties.errorCode"},
	{title: "Principal", path: "identity.claim.name"},
	{title: "Request", path: "properties.requestUri"},
}

// auditRow has fixed widths, since the entries to come are not known.
const auditRow = "%-28s  %-6s  %-26s  %-22s  %-20s  %s\n"

// An auditRange is a page of the log: entries, the position after them, and the last position
// there is.
type auditRange struct {
	Value []jsontext.Value `json:"value"`
	Next  int64            `json:"next"`
	Last  int64            `json:"last"`
}

func (c *call) readAudit(from int64, limit int) (page auditRange, err error) {
	cl, err := c.client()
	if err != nil {
		return page, err
	}
	path := fmt.Sprintf("/audit/entries?from=%d&limit=%d&api-version=%s", from, limit, vaultVersion)
	err = cl.ask(c.ctx, cl.management(), http.MethodGet, path, nil, &page)
	return page, err
}

func (c *call) number(flag string, least int64) (int64, error) {
	n, err := strconv.ParseInt(c.text(flag), 10, 64)
	if err != nil || n < least {
		return 0, usage("", "--%s %s: want a whole number from %d", flag, c.text(flag), least)
	}
	return n, nil
}

// exportAudit ends at what was last when it began: reading the log adds to it.
func (c *call) exportAudit() error {
	from, err := c.number("from", 1)
	if err != nil {
		return err
	}
	end := int64(-1)
	for {
		page, err := c.readAudit(from, auditPage)
		if err != nil {
			return err
		}
		if end < 0 {
			end = page.Last
			if err := c.writeAuditTitles(); err != nil {
				return err
			}
		}
		if left := end - from + 1; int64(len(page.Value)) > left {
			page.Value = page.Value[:max(left, 0)]
		}
		if err := c.writeEntries(page.Value); err != nil {
			return err
		}
		if page.Next > end || page.Next <= from {
			return nil
		}
		from = page.Next
	}
}

// tailAudit runs until it is interrupted.
func (c *call) tailAudit() error {
	lines, err := c.number("lines", 0)
	if err != nil {
		return err
	}
	page, err := c.readAudit(1, 1)
	if err != nil {
		return err
	}
	if err := c.writeAuditTitles(); err != nil {
		return err
	}
	from := max(page.Last-lines+1, 1)
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		page, err := c.readAudit(from, auditPage)
		if c.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.writeEntries(slices.DeleteFunc(page.Value, isLook)); err != nil {
			return err
		}
		more := page.Next > from && page.Next <= page.Last
		from = max(page.Next, from)
		if more {
			continue
		}
		select {
		case <-c.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// isLook says whether an entry tells only that someone read the log.
func isLook(entry jsontext.Value) bool {
	name, err := stringMember(entry, "operationName")
	return err == nil && name == "AuditEntryList"
}

func (c *call) writeAuditTitles() error {
	if c.json() {
		return nil
	}
	return c.writeAuditRow(auditView.titles(), strings.ToUpper)
}

func (c *call) writeAuditRow(cells []string, format func(string) string) error {
	row := make([]any, len(cells))
	for i, cell := range cells {
		row[i] = or(format(cell), "-")
	}
	_, err := fmt.Fprintf(c.out, auditRow, row...)
	return err
}

func (c *call) writeEntries(entries []jsontext.Value) error {
	write := c.writeLine
	if !c.json() {
		write = c.writeEntryRow
	}
	for _, entry := range entries {
		if err := write(entry); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) writeEntryRow(entry jsontext.Value) error {
	row, err := auditView.row(entry)
	if err != nil {
		return err
	}
	return c.writeAuditRow(row, printable)
}

// writeLine prints an entry on one line, whatever white space it came with.
func (c *call) writeLine(entry jsontext.Value) error {
	line := entry.Clone()
	if err := line.Compact(); err != nil {
		return errNotJSON
	}
	_, err := fmt.Fprintf(c.out, "%s\n", line)
	return err
}
