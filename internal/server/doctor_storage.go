package server

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"strongroom/internal/audit"
	"strongroom/internal/ballast"
	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/keyring"
)

// checkStorage looks at the database and opens the root key, as a start would.
func checkStorage(ctx context.Context, cfg config.Config) []Finding {
	d, err := openWith(ctx, cfg, db.Options{}, db.Peek)
	if err != nil {
		return []Finding{bad("database", mendDatabase(err), "%v", err)}
	}
	defer d.Close()
	out := append([]Finding{checkSize(ctx, d)}, checkSettings(ctx, d)...)
	var dep deployment
	var clock time.Time
	var volume audit.Volume
	began := time.Now()
	err = d.View(ctx, func(tx *db.Tx) (err error) {
		clock = tx.Now
		if dep, err = readDeployment(tx); err == nil {
			volume, err = audit.MeasureVolume(tx)
		}
		return err
	})
	if err != nil {
		return append(out, bad("database", mendDatabase(err), "%v", err))
	}
	out = append(out, checkClock(clock, began, volume.Last), checkVolume(cfg, volume))
	return append(out, checkKeys(ctx, d, cfg, dep)...)
}

// checkKeys opens the keyring and, with that, proves that the database is not an older one.
func checkKeys(ctx context.Context, d *db.DB, cfg config.Config, dep deployment) []Finding {
	subject := rootKeySetting(cfg)
	roots, err := openRootKeys(cfg, dep.passphrase)
	if err != nil {
		return []Finding{bad(subject, mendRootKey(cfg, dep), "%v", err)}
	}
	ring, err := keyring.Open(ctx, d, envelope.NewRootKeys(roots...), dep.id)
	if err != nil {
		return []Finding{bad(subject, mendRootKey(cfg, dep), "%v", err)}
	}
	out := []Finding{good(subject, "opens the keyring")}
	d.Bind(dep.tenant, ring)
	a := &app{config: cfg, db: d, deployment: dep, ring: ring, log: slog.New(slog.DiscardHandler)}
	if err := a.checkRestored(ctx); err != nil {
		return append(out, bad("restore", "strongroom restore --confirm", "%v", err))
	}
	if err := a.checkProgress(ctx); err != nil {
		return append(out, bad("progress", "put the newest database back, or, if the old one is meant, strongroom restore --confirm", "%v", err))
	}
	out = append(out, good("progress", "the database is as far as this node has seen it"))
	return append(out, checkIntegrity(ctx, d, newStores(cfg, ring, dep.tenant)))
}

// checkIntegrity proves everything that is stored, as the scrub of a server does.
func checkIntegrity(ctx context.Context, d *db.DB, st stores) Finding {
	const subject, mend = "integrity", "put a dump from before it back: docs/operations.md"
	err := d.CheckFile(ctx)
	if err == nil {
		err = d.View(ctx, st.prover().Prove)
	}
	if err != nil {
		return bad(subject, mend, "%v", err)
	}
	return good(subject, "every row is as it was written, and none is missing")
}

// mendDatabase never advises to begin anew where there may be something to lose.
func mendDatabase(err error) string {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotInitialised) {
		return "strongroom init for a new deployment; if there was one, put its database or a dump back"
	}
	return "mend what the error says, or put a dump back: docs/operations.md"
}

func checkSize(ctx context.Context, d *db.DB) Finding {
	size, err := d.Size(ctx)
	if err != nil {
		return bad("database", "mend what the error says", "%v", err)
	}
	return good("database", "%s answers; it takes up %s", d.Engine(), inBytes(size))
}

func checkSettings(ctx context.Context, d *db.DB) (out []Finding) {
	settings, err := d.Settings(ctx)
	if err != nil {
		return []Finding{bad("database", "mend what the error says", "%v", err)}
	}
	for _, s := range settings {
		f := Finding{OK: s.Fault == "", Subject: s.Name, Found: s.Value, Mend: s.Mend}
		if !f.OK {
			f.Found += ": " + s.Fault
		}
		out = append(out, f)
	}
	return out
}

// rootKeySetting is the setting by which the root key is found.
func rootKeySetting(cfg config.Config) string {
	if cfg.RootKey.PassphraseFile != "" {
		return "root_key.passphrase_file"
	}
	return "root_key.file"
}

// mendRootKey goes by what the deployment was made with, which the settings may contradict.
func mendRootKey(cfg config.Config, dep deployment) string {
	given := rootKeySetting(cfg)
	made, mend := "root_key.file", "set root_key.file to this deployment's key, mode 600, outside data_dir"
	if dep.passphrase != "" {
		made, mend = "root_key.passphrase_file", "set root_key.passphrase_file to a file with this deployment's passphrase, mode 600"
	}
	if given != made {
		mend += ", in place of " + given
	}
	return mend
}

// clockSlack is how far clocks may be apart.
const clockSlack = time.Minute

// checkClock compares the database's clock, by which leases and dates are judged, with ours, and both
// with the last commit: a clock that was set back makes what has ended hold again.
func checkClock(database, host, last time.Time) Finding {
	off := database.Sub(host).Round(time.Millisecond)
	switch {
	case off.Abs() > clockSlack:
		return bad("clock", "timedatectl set-ntp true, on both machines", "the database's clock is off by %s", off)
	case last.Sub(database) > clockSlack:
		return bad("clock", "set the clock right: timedatectl set-ntp true",
			"it is %s, but something was stored at %s: the clock was set back, or was wrong before", database.Format(time.RFC3339), last.Format(time.RFC3339))
	}
	return good("clock", "within %s of the database's, and not before the last commit", max(off.Abs(), time.Millisecond))
}

const (
	// youngLog is too short a time to tell from how much is written in a day.
	youngLog = 10 * time.Minute
	// shortDays is when a disk that fills is a fault, if the rate is that of a day at least.
	shortDays = 7
)

// checkVolume says how much audit a day brings, and how long the disk has room for that.
func checkVolume(cfg config.Config, v audit.Volume) Finding {
	const subject = "audit"
	span := v.Last.Sub(v.First)
	if v.Entries == 0 || span < youngLog {
		return good(subject, "%d entries in the database, %s in all; they are too young to tell how many a day brings", v.Entries, inBytes(v.Bytes))
	}
	perEntry := float64(v.Bytes) / float64(v.Entries)
	perDay := float64(v.Entries) / span.Hours() * 24
	stays := perEntry // of an entry, for ever
	if inSegments, ok := segmentCost(cfg, v); ok {
		stays = inSegments
	}
	if cfg.Database.Engine != string(db.SQLite) {
		return good(subject, "%.0f entries a day, %s a day in the database, %s a day as segments", perDay, inBytes(int64(perDay*perEntry)), inBytes(int64(perDay*stays)))
	}
	free, err := ballast.Free(filepath.Dir(cfg.Database.Path))
	if err != nil {
		return bad(subject, "run as the user who owns it", "ask for the room on the disk: %v", err)
	}
	days := float64(free) / (perDay * stays)
	f := good(subject, "%.0f entries a day, %s a day in the database, %s a day as segments; at that rate what is free (%s) lasts %.0f days",
		perDay, inBytes(int64(perDay*perEntry)), inBytes(int64(perDay*stays)), inBytes(free), days)
	if days < shortDays && span >= 24*time.Hour {
		f.OK, f.Mend = false, "free room, or move old segments from "+cfg.Audit.SegmentDir+" elsewhere"
	}
	return f
}

// segmentCost is how many bytes an entry takes up in the segments that are here.
func segmentCost(cfg config.Config, v audit.Volume) (perEntry float64, ok bool) {
	var bytes, entries int64
	for _, s := range v.Segments {
		info, err := os.Stat(filepath.Join(cfg.Audit.SegmentDir, filepath.Base(s.Name)))
		if errors.Is(err, os.ErrNotExist) {
			continue // moved away
		}
		if err == nil {
			bytes, entries = bytes+info.Size(), entries+s.Entries
		}
	}
	if entries == 0 {
		return 0, false
	}
	return float64(bytes) / float64(entries), true
}
