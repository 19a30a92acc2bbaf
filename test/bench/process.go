package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

// A process is a child. It ends with this one: its standard input closes then.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	log   tail
	ended chan struct{} // closed after its end
}

// start starts a program on the server's cores with the server's environment. The ceiling is
// started by it too: they must not differ.
func (b *bench) start(program string, args ...string) (*process, error) {
	p := newProcess(program, args...)
	p.cmd.Env = append(p.cmd.Env, "GOMAXPROCS=2")
	return p, p.start(b.cores.server, b.cores.generator)
}

// readTold reads the file by which this process, as a child, was told what to do. From then on it ends
// with its parent: its standard input closes then.
func readTold(file string, to any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return nil
}

// newProcess keeps settings of the caller's own server away.
func newProcess(program string, args ...string) *process {
	p := &process{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	p.cmd.Stderr = &p.log
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "STRONGROOM_") && !strings.HasPrefix(variable, "GO") {
			p.cmd.Env = append(p.cmd.Env, variable)
		}
	}
	return p
}

// start starts it on the cores; ours are those of this process.
func (p *process) start(on, ours []int) (err error) {
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := onCores(on, ours, p.cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", p.cmd.Path, err)
	}
	go func() {
		p.cmd.Wait() // why it ended stands in its log
		close(p.ended)
	}()
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks it to end, and after a while makes it. It may be called twice.
func (p *process) stop() {
	if p.cmd.Process == nil {
		return
	}
	p.stdin.Close()
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		p.cmd.Process.Kill() // Windows knows no other way
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// waitFirst asks until there is one right answer to the first request of the load.
func (t *target) waitFirst(ctx context.Context, p *process) error {
	deadline := time.Now().Add(patience)
	for {
		err := t.askOnce(deadline)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended: %s", p.log.String())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Microsecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no right answer within %s: %w: %s", patience, err, p.log.String())
		}
	}
}

func (t *target) askOnce(deadline time.Time) error {
	c, err := t.dial(deadline)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.must(t.load.all()[0])
	return err
}

// A tail keeps the end of what a process writes.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const tailLength = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailLength):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
