package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"runtime"
	"strings"
	"time"

	"strongroom/internal/config"
)

// A Finding is one thing that Doctor looked at.
type Finding struct {
	OK      bool
	Subject string // what was looked at, a configuration key where there is one
	Found   string
	Mend    string // the line that mends it; when OK, what would be better, or ""
}

// State is a word for the finding: ok, bad, or note for what is no fault and could be better.
func (f Finding) State() string {
	switch {
	case !f.OK:
		return "bad"
	case f.Mend != "":
		return "note"
	}
	return "ok"
}

// Doctor looks for what keeps a server from starting or from being safe, and changes nothing. It is
// run as the server's user, beside a server that runs or without one.
func Doctor(ctx context.Context, o Options) []Finding {
	out := checkFiles(o.Config)
	out = append(out, checkProcessors(), checkTLS(o.Config, time.Now()))
	out = append(out, checkListeners(o.Config)...)
	out = append(out, checkDisk(o.Config))
	return append(out, checkStorage(ctx, o.Config)...)
}

// ConfigurationFindings are the faults of a configuration that cannot be loaded.
func ConfigurationFindings(err error) (out []Finding) {
	mend := "set the key to what is wanted, where the line says; docs/configuration.md has all keys"
	if errors.Is(err, fs.ErrNotExist) {
		mend = "give --config a file that is there"
	}
	for line := range strings.Lines(err.Error()) {
		out = append(out, bad("configuration", mend, "%s", strings.TrimSpace(line)))
	}
	return out
}

func good(subject, format string, args ...any) Finding {
	return Finding{OK: true, Subject: subject, Found: fmt.Sprintf(format, args...)}
}

func bad(subject, mend, format string, args ...any) Finding {
	return Finding{Subject: subject, Found: fmt.Sprintf(format, args...), Mend: mend}
}

// checkProcessors: with one scheduler slot, a sync of the disk holds up everything else.
func checkProcessors() Finding {
	n := runtime.GOMAXPROCS(0)
	if n < 2 {
		return bad("GOMAXPROCS", "GOMAXPROCS=2 strongroom serve", "%d: one blocking sync stops all requests", n)
	}
	return good("GOMAXPROCS", "%d", n)
}

// checkListeners looks whether the addresses can be listened on, or are by the running server.
func checkListeners(cfg config.Config) (out []Finding) {
	running := false
	if c, err := net.DialTimeout("unix", cfg.Socket, time.Second); err == nil {
		c.Close()
		running = true
	}
	for _, at := range addresses(cfg) {
		out = append(out, checkListener(at.key, at.address, running))
	}
	return out
}

func checkListener(key, address string, running bool) Finding {
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return errorOr(l.Close(), key, good(key, "%s is free", address))
	case running:
		return good(key, "%s is served by the running server", address)
	}
	return bad(key, "stop what holds the port, or set "+key+" to another", "%v", err)
}

// errorOr is the finding, unless looking failed in the end.
func errorOr(err error, subject string, f Finding) Finding {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return bad(subject, "look at what the error says", "%v", err)
	}
	return f
}
