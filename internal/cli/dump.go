package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/go-json-experiment/json"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"strongroom/internal/dump"
	"strongroom/internal/durable"
)

func (a *app) dumpSpec() spec {
	return spec{
		use: "dump", short: "Dump everything that the server of this machine stores, encrypted, while it runs",
		long: "Dump everything that the server of this machine stores, encrypted, while it runs: one consistent state, of\n" +
			"either database. Values stay sealed in it: to restore it takes the dump, an identity of one of the\n" +
			"recipients, and the root key of this deployment. \"restore\" does it.",
		example: "  strongroom dump --to strongroom.dump.age --recipient age1…\n" +
			"  strongroom dump --to - --recipients-file operators.txt > /mnt/backup/strongroom.dump.age",
		flags: func(f *pflag.FlagSet) {
			f.String("to", "", "the file to make, which must not exist, or - for standard output")
			f.StringArray("recipient", nil, "a public key of age (age1…, age1pq1…) or of SSH; may be repeated")
			f.StringArray("recipients-file", nil, "a file of public keys, one a line; may be repeated")
			socketFlags(f)
			outputFlag(f)
		},
		run: (*call).dump,
	}
}

// dump reads the dump from the server, checks it on its way and encrypts it. A file that bears the
// name of --to is a whole one.
func (c *call) dump() error {
	name, err := c.required("to", "the file to make, or -,", "")
	if err != nil {
		return err
	}
	recipients, err := c.recipients()
	if err != nil {
		return err
	}
	cl, err := c.overSocket()
	if err != nil {
		return err
	}
	out, err := c.newDumpFile(name)
	if err != nil {
		return err
	}
	defer out.discard() // after keep it does nothing
	header, end, err := c.fetchDump(cl, out, recipients)
	if err != nil {
		return err
	}
	if err := out.keep(); err != nil {
		return err
	}
	return c.showDump(name, header, end)
}

func (c *call) fetchDump(cl *client, out *dumpFile, recipients []age.Recipient) (dump.Header, dump.Trailer, error) {
	sealed, err := age.Encrypt(out, recipients...)
	if out.failed != nil {
		return dump.Header{}, dump.Trailer{}, out.failed
	}
	if err != nil {
		return dump.Header{}, dump.Trailer{}, usage(recipientHint, "these recipients do not go together: %w", err)
	}
	body, err := cl.stream(c.ctx, cl.management(), "/dump", nil)
	if err != nil {
		return dump.Header{}, dump.Trailer{}, err
	}
	defer body.Close()
	header, end, err := c.checkDump(io.TeeReader(body, sealed))
	if err == nil {
		err = sealed.Close()
	}
	if errors.Is(err, dump.ErrTruncated) {
		err = failed("the server's log says why", "the server broke the dump off: %w", err)
	}
	return header, end, err
}

// checkDump reads a dump to its end, so that what is kept can be restored.
func (c *call) checkDump(in io.Reader) (h dump.Header, end dump.Trailer, err error) {
	r, err := dump.NewReader(in)
	if err != nil {
		return h, end, err
	}
	meter := c.newMeter()
	defer meter.stop()
	rows := 0
	for {
		table, err := r.NextTable()
		if errors.Is(err, io.EOF) {
			return r.Header(), r.Trailer(), nil
		}
		for err == nil {
			if _, err = r.Row(); err == nil {
				rows++
				meter.show("dumping %s, row %d", table.Name, rows)
			}
		}
		if !errors.Is(err, io.EOF) {
			return h, end, err
		}
	}
}

// stream posts a body, if it is not nil, and returns the answer as it comes. It may take any time.
func (c *client) stream(ctx context.Context, to place, path string, body any) (io.ReadCloser, error) {
	req, err := newRequest(ctx, http.MethodPost, c.scheme+"://"+to.host+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Del("Accept")
	patient := *c.http
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err != nil {
		return nil, unreachable(req, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)
		}
		return nil, newRefusal(resp.StatusCode, b)
	}
	return resp.Body, nil
}

// showDump tells what was made: on standard error where the dump itself went to standard output.
func (c *call) showDump(name string, h dump.Header, end dump.Trailer) error {
	rows := int64(0)
	for _, count := range end.Counts {
		rows += count.Rows
	}
	if name == "-" {
		c.say("dumped the state of %s: %d rows, %d audit entries", h.Time.Format(time.RFC3339), rows, h.Entries)
		return nil
	}
	if c.json() {
		b, err := json.Marshal(map[string]any{
			"file": name, "header": h, "rows": rows, "sha256": fmt.Sprintf("%x", end.SHA256),
		}, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		return c.writeJSON(b)
	}
	return c.writeFields([]string{"File", "State of", "Deployment", "Audit entries", "Rows", "SHA-256 inside"},
		[]string{name, h.Time.Format(time.RFC3339), h.Deployment, fmt.Sprint(h.Entries), fmt.Sprint(rows), fmt.Sprintf("%x", end.SHA256)})
}

// A dumpFile is where a dump goes: a file that gets its name when it is whole, or standard output.
type dumpFile struct {
	io.Writer
	file   *os.File // nil for standard output
	name   string
	failed error // of the first write that did
}

func (d *dumpFile) Write(b []byte) (n int, err error) {
	if n, err = d.Writer.Write(b); err != nil && d.failed == nil {
		d.failed = failed("want room and a reader to the end", "write the dump: %w", err)
	}
	return n, d.failed
}

func (c *call) newDumpFile(name string) (*dumpFile, error) {
	if name == "-" {
		if f, ok := c.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return nil, usage("", "--to -: standard output is a terminal; want a pipe or a file")
		}
		return &dumpFile{Writer: c.out}, nil
	}
	if err := mustNotExist(name); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".part-*") // O_EXCL, 0600
	if path, ok := errors.AsType[*fs.PathError](err); ok {                         // it names a file that nobody has asked for
		return nil, failed(fileHint(name, err), "make the dump %s: %w", name, path.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("make the dump %s: %w", name, err)
	}
	return &dumpFile{Writer: f, file: f, name: name}, nil
}

func mustNotExist(name string) error {
	_, err := os.Lstat(name)
	switch {
	case err == nil:
		return failed("name another file, or remove that one", "--to %s: it is there already", name)
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("make the dump: %w", err)
	}
	return nil
}

// keep gives the file its name, when it is on the disk.
func (d *dumpFile) keep() error {
	if d.file == nil {
		return nil
	}
	err := errors.Join(d.file.Sync(), d.file.Close())
	if err == nil {
		err = mustNotExist(d.name)
	}
	if err == nil {
		err = os.Rename(d.file.Name(), d.name)
	}
	if err != nil {
		return fmt.Errorf("keep the dump: %w", err)
	}
	d.file = nil
	return durable.SyncFolder(filepath.Dir(d.name))
}

// discard removes what is not whole.
func (d *dumpFile) discard() {
	if d.file != nil {
		d.file.Close()
		os.Remove(d.file.Name())
	}
}

// A meter shows on a terminal how far something long is. Elsewhere it is silent.
type meter struct {
	out  io.Writer // nil: silent
	last time.Time
}

// meterEvery is how often a meter moves.
const meterEvery = 200 * time.Millisecond

func (c *call) newMeter() *meter {
	if f, ok := c.errs.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &meter{out: f}
	}
	return &meter{}
}

// clearLine goes to the beginning of the terminal's line and empties it (ECMA-48, EL).
const clearLine = "\r\x1b[K"

func (m *meter) show(format string, args ...any) {
	if m.out == nil || time.Since(m.last) < meterEvery {
		return
	}
	m.last = time.Now()
	fmt.Fprintf(m.out, clearLine+format, args...)
}

// stop leaves no trace.
func (m *meter) stop() {
	if m.out != nil && !m.last.IsZero() {
		fmt.Fprint(m.out, clearLine)
	}
}
