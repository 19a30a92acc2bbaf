package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"time"

	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/keyring"
)

// A Finding is one thing that Doctor looked at.
type Finding struct {
	OK      bool
	Subject string // what was looked at, a configuration key where there is one
	Found   string
	Mend    string // the line that mends it; "" when OK
}

// Doctor looks for what keeps a server from starting or from being safe, and changes nothing. It
// can be run beside a server: the database of one is asked over the network or, for SQLite, found
// in use.
func Doctor(ctx context.Context, o Options) []Finding {
	out := []Finding{checkDataDir(o.Config), checkProcessors(), checkTLS(o.Config), checkPort(o.Config)}
	return append(out, checkStorage(ctx, o.Config)...)
}

func good(subject, format string, args ...any) Finding {
	return Finding{OK: true, Subject: subject, Found: fmt.Sprintf(format, args...)}
}

func bad(subject, mend, format string, args ...any) Finding {
	return Finding{Subject: subject, Found: fmt.Sprintf(format, args...), Mend: mend}
}

func checkDataDir(cfg config.Config) Finding {
	const subject = "data_dir"
	info, err := os.Stat(cfg.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad(subject, "strongroom init", "%s does not exist", cfg.DataDir)
	case err != nil:
		return bad(subject, "run as the user who owns it", "%v", err)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return bad(subject, "chmod 700 "+cfg.DataDir, "%s has mode %v: others may look in", cfg.DataDir, info.Mode().Perm())
	}
	return good(subject, "%s, mode %v", cfg.DataDir, info.Mode().Perm())
}

// checkProcessors: with one scheduler slot, a sync of the disk holds up everything else.
func checkProcessors() Finding {
	n := runtime.GOMAXPROCS(0)
	if n < 2 {
		return bad("GOMAXPROCS", "GOMAXPROCS=2 strongroom serve", "%d: one blocking sync stops all requests", n)
	}
	return good("GOMAXPROCS", "%d", n)
}

func checkTLS(cfg config.Config) Finding {
	const subject = "tls.certificate_file"
	if cfg.TLS.CertificateFile == "" {
		return good(subject, "none: the local authority in data_dir serves")
	}
	pair, err := tls.LoadX509KeyPair(cfg.TLS.CertificateFile, cfg.TLS.KeyFile)
	if err != nil {
		return bad(subject, "give a PEM certificate, leaf first, and its key", "%v", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return bad(subject, "give a PEM certificate, leaf first", "%v", err)
	}
	if left := time.Until(leaf.NotAfter); left < 14*24*time.Hour {
		return bad(subject, "renew the certificate and send SIGHUP", "it ends on %s", leaf.NotAfter.Format(time.DateOnly))
	}
	for _, f := range cfg.Families() {
		for _, host := range []string{"x." + f.VaultSuffix, f.Login, f.Management} {
			if err := leaf.VerifyHostname(host); err != nil {
				return bad(subject, "get a certificate for *."+f.VaultSuffix+", "+f.Login+" and "+f.Management, "%v", err)
			}
		}
	}
	return good(subject, "covers all names until %s", leaf.NotAfter.Format(time.DateOnly))
}

func checkPort(cfg config.Config) Finding {
	const subject = "listen"
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		if c, dialErr := net.DialTimeout("unix", cfg.Socket, time.Second); dialErr == nil {
			c.Close()
			return good(subject, "%s is served by the running server", cfg.Listen)
		}
		return bad(subject, "stop what holds the port, or set listen to another", "%v", err)
	}
	l.Close()
	return good(subject, "%s is free", cfg.Listen)
}

// checkStorage opens the database and the root key, as a start would.
func checkStorage(ctx context.Context, cfg config.Config) []Finding {
	d, err := openDatabase(ctx, cfg, false)
	if errors.Is(err, db.ErrInUse) {
		return []Finding{good("database", "%v; what is in it can be looked at when the server is stopped", err)}
	}
	if err != nil {
		return []Finding{bad("database", "mend what the error says, or run strongroom init", "%v", err)}
	}
	defer d.Close()
	out := []Finding{good("database", "%s answers", d.Engine())}
	var dep deployment
	began := time.Now()
	err = d.View(ctx, func(tx *db.Tx) (err error) {
		dep, err = readDeployment(tx)
		out = append(out, checkClock(tx.Now, began))
		return err
	})
	if err != nil {
		return append(out, bad("database", "strongroom init", "%v", err))
	}
	roots, err := openRootKeys(cfg, dep.passphrase)
	if err == nil {
		_, err = keyring.Open(ctx, d, envelope.NewRootKeys(roots...), dep.id)
	}
	if err != nil {
		return append(out, bad(rootKeySetting(cfg), mendRootKey(cfg, dep), "%v", err))
	}
	return append(out, good(rootKeySetting(cfg), "opens the keyring"))
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

// checkClock compares the database's clock, by which leases and dates are judged, with ours.
func checkClock(database, host time.Time) Finding {
	off := database.Sub(host).Round(time.Millisecond)
	if off.Abs() > time.Minute {
		return bad("clock", "run a time service on both machines", "the database's clock is off by %s", off)
	}
	return good("clock", "within %s of the database's", max(off.Abs(), time.Millisecond))
}
