package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/term"
)

// A bench is a run: what was built, where it lies, and what it has started.
type bench struct {
	options
	scratch     string // removed at the end
	root        string // of the module; found when something has to be built
	cores       cores
	deployments map[string]*deployment
	postgresql  *process
	terminal    bool // progress is shown
	notes       []string
}

// newBench builds what is missing and moves this process to its cores.
func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o, deployments: map[string]*deployment{}, terminal: term.IsTerminal(int(os.Stderr.Fd()))}
	var err error
	if b.scratch, err = os.MkdirTemp("", "bench-"); err != nil {
		return nil, err
	}
	if err := b.prepare(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) prepare(ctx context.Context) (err error) {
	if b.binary == "" {
		b.progress("build the server")
		if b.binary, err = b.build(ctx, "strongroom", "./cmd/strongroom"); err != nil {
			return err
		}
	}
	if b.binary, err = filepath.Abs(b.binary); err != nil {
		return err
	}
	if _, err := os.Stat(b.binary); err != nil {
		return fmt.Errorf("the server to measure: %w", err)
	}
	if b.dir == "" {
		b.dir = filepath.Join(b.scratch, "d")
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	if inMemory(b.dir) {
		b.note("the data lies in memory, so a sync costs nothing: these figures are not those of a disk; name a folder on one with -dir")
	}
	b.pin()
	return nil
}

// pin parts the cores. Where it cannot, the run goes on and says so.
func (b *bench) pin() {
	allowed, err := allowedCores()
	if err == nil {
		b.cores, err = splitCores(allowed)
	}
	if err == nil {
		err = pinSelf(b.cores.generator)
	}
	if err != nil {
		b.cores = cores{}
		b.note(fmt.Sprintf("server and generator shared all cores (%v): ratios are better than they should be, rates are worse", err))
		return
	}
	runtime.GOMAXPROCS(len(b.cores.generator))
}

// close ends what still runs and removes what is not to stay.
func (b *bench) close() {
	if b.postgresql != nil {
		b.postgresql.stop()
	}
	os.RemoveAll(b.scratch)
}

func (b *bench) note(text string) { b.notes = append(b.notes, text) }

// progress shows on a terminal what is being done; "" wipes the line.
func (b *bench) progress(format string, args ...any) {
	if b.terminal {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}

// build builds a program of this module as it is released.
func (b *bench) build(ctx context.Context, name, pkg string) (string, error) {
	if b.root == "" {
		out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
		if err != nil {
			return "", fmt.Errorf("find the module (run bench inside it, or give -binary): %w", err)
		}
		b.root = strings.TrimSpace(string(out))
	}
	file := filepath.Join(b.scratch, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, pkg)
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return file, nil
}

// freeAddress is a loopback address whose port nobody uses at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// syncRate is how often per second the disk makes an appended page of 4 KiB durable, for one thread.
func (b *bench) syncRate() (float64, error) {
	f, err := os.Create(filepath.Join(b.dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	n, began := 0, time.Now()
	for ; time.Since(began) < min(b.duration/2, time.Second); n++ {
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := syncData(f); err != nil {
			return 0, fmt.Errorf("sync a page: %w", err)
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// cores says who works where. The zero value means everybody everywhere.
type cores struct{ server, generator []int }

// splitCores gives the server two cores where there are enough, and the generator the others.
func splitCores(allowed []int) (cores, error) {
	if len(allowed) < 2 {
		return cores{}, errors.New("there is one core")
	}
	n := 1
	if len(allowed) >= 4 {
		n = 2
	}
	return cores{server: allowed[:n], generator: allowed[n:]}, nil
}
