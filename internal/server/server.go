// Package server puts the parts together: it opens the database and the root key, builds the
// faces and the pipeline, and runs the listeners and the background work of one process.
//
// Listeners: TLS for all faces, chosen by host; the local socket, whose peer's user is checked by
// the system and needs no token; plain HTTP on loopback for managed identity; and one for health
// and metrics. What a request may cost is bounded here (headers, time, connections, streams) and
// by each operation (its body).
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"strongroom/internal/config"
)

// stopWithin is how long open requests have to end after the server was asked to stop.
const stopWithin = 20 * time.Second

// Options are what a command starts the server with.
type Options struct {
	Config config.Config // complete and checked
	Notes  []string      // which layer decided what, for the log
	Dev    bool          // initialise if need be, and make the vault and identity of dev
	// TestClock makes a new database's clock one that can be set off, for tests.
	TestClock bool
	Stderr    io.Writer
	Version   string
}

// Ready tells where a server that has begun to serve is found.
type Ready struct {
	VaultURL, LoginURL, ManagementURL, IdentityURL, MetricsURL string
	Socket, CAFile                                             string // CAFile is "" with given TLS files
	Tenant, Subscription, Group                                string
	DevIdentity                                                string // client id, with Options.Dev
}

// Run serves until ctx ends, and then stops gracefully: new connections are refused, requests
// under way are answered, what waits for a commit is committed. ready is called once, when all
// listeners are open. SIGHUP reads the TLS files again.
func Run(ctx context.Context, o Options, ready func(Ready)) error {
	log := newLogger(o)
	for _, note := range o.Notes {
		log.Debug("configuration", slog.String("decided", note))
	}
	if err := withholdMemory(); err != nil {
		log.Warn("a crash may leave a core dump with keys and values", slog.Any("error", err))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcMost)
	}
	open := newApp
	if o.Dev {
		open = newDevApp
	}
	a, err := open(ctx, o, log)
	if err != nil {
		return err
	}
	defer a.close()
	at := a.ready()
	if o.Dev {
		if at.DevIdentity, err = a.makeDev(ctx); err != nil {
			return err
		}
	}
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	return a.serve(ctx, listeners, func() {
		log.Info("serving", slog.String("version", o.Version), slog.String("listen", o.Config.Listen),
			slog.String("database", string(a.db.Engine())), slog.String("tenant", at.Tenant))
		ready(at)
	})
}

// serve runs listeners and background work until ctx ends or one of them fails.
func (a *app) serve(ctx context.Context, listeners []listener, ready func()) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	g, failed := errgroup.WithContext(ctx)
	background, _ := errgroup.WithContext(work)
	background.Go(func() error { return a.scheduler.Run(work) })
	background.Go(func() error { return a.counter.Run(work, a.db, a.log) })
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anybody is told that we serve: without it the signal ends the process
	defer signal.Stop(hup)
	background.Go(func() error { return a.reloadOnHangup(work, hup) })
	background.Go(func() error { return a.remember(work) })
	background.Go(func() error { return a.ballast.Run(work) })
	if os.Getenv("GOGC") == "" {
		background.Go(func() error { return paceCollections(work) })
	}
	for _, l := range listeners {
		g.Go(func() error {
			if err := l.server.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("listener %s: %w", l.name, err)
			}
			return nil
		})
		g.Go(func() error {
			<-failed.Done()
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
			defer cancel()
			if err := l.server.Shutdown(end); err != nil {
				return l.server.Close()
			}
			return nil
		})
	}
	defer context.AfterFunc(failed, func() { close(a.stopping) })()
	ready()
	defer context.AfterFunc(ctx, func() { a.log.Info("stopping") })()
	err := g.Wait()
	stopWork()
	return errors.Join(err, background.Wait())
}

// reloadOnHangup reads the TLS files again at each SIGHUP; a bad pair is logged and the old one
// stays.
func (a *app) reloadOnHangup(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		if a.files == nil {
			continue
		}
		if err := a.files.Reload(); err != nil {
			a.log.Error("certificate not reloaded; the old one stays", slog.Any("error", err))
			continue
		}
		a.log.Info("certificate reloaded", slog.Time("not_after", a.files.NotAfter()))
	}
}

func newLogger(o Options) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.Config.Log.Level)); err != nil {
		level = slog.LevelInfo // checked by config
	}
	if o.Config.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(o.Stderr, &slog.HandlerOptions{Level: level}))
	}
	f, isFile := o.Stderr.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	return slog.New(tint.NewTextHandler(o.Stderr, &tint.Options{Level: level, NoColor: !terminal || os.Getenv("NO_COLOR") != "", TimeFormat: time.RFC3339}))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// makeDataDir makes the data folder, for its owner alone.
func makeDataDir(cfg config.Config) error {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Socket), 0o700); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return nil
}
