package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// maxInput bounds what is read for a value in memory; the server has the true limits.
const maxInput = 256 << 10

// maxBackup bounds a backup blob, as the server does.
const maxBackup = 48 << 20

// readValue reads a value from the file of --file, or from standard input, byte for byte. On a
// terminal it asks for it and does not show it.
func (c *call) readValue(what string, limit int) ([]byte, error) {
	if name := c.text("file"); name != "" {
		f, err := openFile(name, what)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readAll(f, what, limit)
	}
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return c.prompt(f, what)
	}
	return readAll(c.in, what, limit)
}

// openFile opens a file that a flag names.
func openFile(name, what string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, failed(fileHint(name, err), "read the %s: %w", what, err)
	}
	return f, nil
}

// fileHint is what to do about a file that cannot be opened or made.
func fileHint(name string, err error) string {
	folder := filepath.Dir(name)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "run it as a user who may: ls -ld " + shellQuote(folder) + " " + shellQuote(name)
	case errors.Is(err, syscall.EISDIR):
		return "name a file in that folder: ls " + shellQuote(name)
	case errors.Is(err, syscall.ENOTDIR):
		for _, err := os.Stat(folder); err != nil && folder != filepath.Dir(folder); _, err = os.Stat(folder) {
			folder = filepath.Dir(folder)
		}
		return "there is a file in the place of the folder: ls -l " + shellQuote(folder)
	case errors.Is(err, syscall.EROFS):
		return "the disk is mounted for reading only: findmnt -T " + shellQuote(folder)
	case !errors.Is(err, fs.ErrNotExist):
		return ""
	}
	if _, err := os.Stat(folder); err != nil {
		return "there is no folder " + shellQuote(folder)
	}
	return "what is there: ls " + shellQuote(folder)
}

func readAll(r io.Reader, what string, limit int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	if len(b) > limit {
		return nil, failed("", "the %s is over %d bytes", what, limit)
	}
	return b, nil
}

// prompt reads a line from the terminal without echo. An interrupt gives the echo back.
func (c *call) prompt(f *os.File, what string) ([]byte, error) {
	fd := int(f.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("ask for the %s: %w", what, err)
	}
	fmt.Fprintf(c.errs, "%s (not shown): ", strings.ToUpper(what[:1])+what[1:])
	defer fmt.Fprintln(c.errs)
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1) // after an interrupt the reader is left behind; the process ends
	go func() {
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case <-c.ctx.Done():
		return nil, errors.Join(context.Cause(c.ctx), term.Restore(fd, state))
	case l := <-read:
		if l.err != nil {
			return nil, fmt.Errorf("ask for the %s: %w", what, l.err)
		}
		return l.text, nil
	}
}

// moment reads a date flag; zero if it was not given.
func (c *call) moment(name string) (time.Time, error) {
	text := c.text(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usage("", "--%s %q: want a date as in 2027-01-31 or 2027-01-31T12:00:00Z", name, text)
}
