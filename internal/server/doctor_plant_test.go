//go:build unix

package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"strongroom/internal/audit"
	"strongroom/internal/config"
	"strongroom/internal/db/dbtest"
)

// A planted fault has to be found under its subject, with words that tell it and a line that mends it,
// and nothing else may be found.
type planted struct {
	name                 string
	plant                func(t *testing.T, cfg *config.Config)
	subject, found, mend string
}

var faults = []planted{
	{"a data folder for all", func(t *testing.T, cfg *config.Config) { chmod(t, cfg.DataDir, 0o755) }, "data_dir", "0755", "chmod 700 "},
	{"a database for the group", func(t *testing.T, cfg *config.Config) { chmod(t, cfg.Database.Path, 0o640) }, "database.path", "strongroom.db", "chmod 600 "},
	{"an authority's key for the group", func(t *testing.T, cfg *config.Config) { chmod(t, filepath.Join(cfg.DataDir, "ca-key.pem"), 0o640) }, "data_dir", "ca-key.pem", "chmod 600 "},
	{"a folder of segments for all", func(t *testing.T, cfg *config.Config) {
		if err := os.Mkdir(cfg.Audit.SegmentDir, 0o700); err != nil {
			t.Fatal(err)
		}
		chmod(t, cfg.Audit.SegmentDir, 0o755)
	}, "audit.segment_dir", "0755", "chmod 700 "},
	{"a root key for all", func(t *testing.T, cfg *config.Config) { chmod(t, cfg.RootKey.File, 0o644) }, "root_key.file", "0644", "chmod 600 "},
	{"no root key", func(t *testing.T, cfg *config.Config) { remove(t, cfg.RootKey.File) }, "root_key.file", "no such file", "set root_key.file"},
	{"a file for a socket", func(t *testing.T, cfg *config.Config) { write(t, cfg.Socket, "") }, "socket", "no socket", "remove it"},
	{"a port that is taken", func(t *testing.T, cfg *config.Config) { cfg.Listen = taken(t) }, "listen", "in use", "set listen to another"},
	{"a port of metrics that is taken", func(t *testing.T, cfg *config.Config) { cfg.MetricsListen = taken(t) }, "metrics_listen", "in use", "set metrics_listen to another"},
	{"one processor", func(t *testing.T, _ *config.Config) {
		had := runtime.GOMAXPROCS(1)
		t.Cleanup(func() { runtime.GOMAXPROCS(had) })
	}, "GOMAXPROCS", "1", "GOMAXPROCS=2"},
	{"no room for the ballast", func(_ *testing.T, cfg *config.Config) { cfg.Database.BallastSize = "999GiB" }, "database.ballast_size", "changes are refused", "free "},
	{"no database", func(t *testing.T, cfg *config.Config) { remove(t, cfg.Database.Path) }, "database", "no such file", "strongroom init for a new deployment"},
	{"an empty database", func(t *testing.T, cfg *config.Config) { write(t, cfg.Database.Path, "") }, "database", "initialised", "put a dump back"},
	{"a database of a newer release", sqlite(`UPDATE meta SET value = '99' WHERE key = 'least_reader'`), "database", "newer release", "what the error says"},
	{"no write-ahead log", sqlite(`PRAGMA journal_mode = DELETE`), "journal_mode", "write-ahead log off", "turns the log on"},
	{"a clock of the database that is off", sqlite(`INSERT INTO meta (key, value, row_mac) VALUES ('clock_offset_us', '-3600000000', x'')`), "clock", "off by -1h", "set-ntp true"},
	{"a clock that was set back", func(t *testing.T, cfg *config.Config) {
		sqlite(`INSERT INTO meta (key, value, row_mac) VALUES ('clock_offset_us', '86400000000', x'')`)(t, cfg)
		serveOnce(t, *cfg) // leaves a commit of tomorrow
		sqlite(`DELETE FROM meta WHERE key = 'clock_offset_us'`)(t, cfg)
	}, "clock", "set back", "set-ntp true"},
	{"a row that was edited", sqlite(`UPDATE resource_groups SET location = 'elsewhere'`), "integrity", "does not match its seal", "dump"},
	{"a row that was deleted", sqlite(`DELETE FROM resource_groups`), "integrity", "directory", "dump"},
	{"a damaged page", damage("vaults_purge"), "integrity", "the database file is damaged", "dump"},
	{"a database of another deployment", func(t *testing.T, cfg *config.Config) {
		write(t, progressFile(*cfg), `{"deployment":"another"}`)
	}, "progress", "this node has served another", "restore --confirm"},
	{"a restore that nobody has confirmed", func(t *testing.T, cfg *config.Config) {
		withApp(t, *cfg, func(a *app) error { setMeta(t, a, metaRestored, "a dump"); return nil })
	}, "restore", "it was restored from", "strongroom restore --confirm"},
	{"an old database", func(t *testing.T, cfg *config.Config) {
		write(t, progressFile(*cfg), fmt.Sprintf(`{"deployment":%q,"authorisation":1000,"directory":1000,"entries":1000}`, deploymentOf(t, *cfg)))
	}, "progress", "lies behind", "strongroom restore --confirm"},
	{"half a file of progress", func(t *testing.T, cfg *config.Config) { write(t, progressFile(*cfg), `{"deploy`) }, "progress", "how far it had come", "restore --confirm"},
	{"no certificate", func(_ *testing.T, cfg *config.Config) {
		cfg.TLS = config.TLS{CertificateFile: "/none.pem", KeyFile: "/none.key"}
	}, "tls.certificate_file", "no such file", "PEM certificate"},
	{"a certificate that has ended", certificate(func(c *chain) { c.end = -time.Hour }), "tls.certificate_file", "it ended on", "renew"},
	{"a certificate that ends soon", certificate(func(c *chain) { c.end = 5 * 24 * time.Hour }), "tls.certificate_file", "it ends on", "renew"},
	{"a certificate that does not hold yet", certificate(func(c *chain) { c.begin = time.Hour }), "tls.certificate_file", "not hold before", "set the clock right"},
	{"a certificate without a name", certificate(func(c *chain) { c.names = c.names[:len(c.names)-1] }), "tls.certificate_file", "graph.strongroom.internal", "too"},
	{"a chain out of order", certificate(func(c *chain) { c.reversed = true }), "tls.certificate_file", "out of order", "leaf first"},
	{"a key of another certificate", certificate(func(c *chain) { c.otherKey = true }), "tls.key_file", "private key does not match", "belongs to"},
	{"a certificate's key for all", certificate(func(c *chain) { c.mode = 0o644 }), "tls.key_file", "0644", "chmod 600 "},
}

func TestDoctorFindsEachFault(t *testing.T) {
	healthy := testConfig(t)
	initialise(t, healthy)
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			cfg := copied(t, healthy)
			tt.plant(t, &cfg)
			wantFault(t, cfg, tt)
		})
	}
}

// copied is a copy of a deployment that does not run.
func copied(t *testing.T, of config.Config) config.Config {
	t.Helper()
	cfg := testConfig(t)
	if err := os.CopyFS(cfg.DataDir, os.DirFS(of.DataDir)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(cfg.DataDir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return errors.Join(err, os.Chmod(path, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// initialise makes a deployment whose clock can be set off, and has it served once.
func initialise(t *testing.T, cfg config.Config) {
	t.Helper()
	o := Options{Config: cfg, Stderr: io.Discard, TestClock: true}
	if _, err := Init(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	serveOnce(t, cfg)
}

// serveOnce starts a node, which commits something, and stops it.
func serveOnce(t *testing.T, cfg config.Config) {
	t.Helper()
	withApp(t, cfg, func(a *app) error {
		return a.db.Append(context.Background(), audit.Entry{Operation: "Test"}.Encode())
	})
}

func withApp(t *testing.T, cfg config.Config, fn func(*app) error) {
	t.Helper()
	a, err := newApp(context.Background(), Options{Config: cfg, Stderr: io.Discard}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if err := fn(a); err != nil {
		t.Fatal(err)
	}
}

// damage overwrites the root page of an index, which nothing of an empty deployment asks.
func damage(index string) func(t *testing.T, cfg *config.Config) {
	return func(t *testing.T, cfg *config.Config) {
		t.Helper()
		out, err := exec.Command("sqlite3", cfg.Database.Path, `SELECT rootpage FROM sqlite_master WHERE name = '`+index+`'`).Output()
		if err != nil {
			t.Fatal(err)
		}
		page, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(cfg.Database.Path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), (page-1)*4096)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func wantFault(t *testing.T, cfg config.Config, want planted) {
	t.Helper()
	hit := false
	for _, f := range Doctor(context.Background(), Options{Config: cfg}) {
		switch {
		case f.OK:
		case f.Subject != want.subject:
			t.Errorf("%s: also found %+v", want.name, f)
		case strings.Contains(f.Found, want.found) && strings.Contains(f.Mend, want.mend):
			hit = true
		default:
			t.Logf("%s: %+v", want.name, f)
		}
	}
	if !hit {
		t.Errorf("%s: want of %s that %q, to be mended by %q", want.name, want.subject, want.found, want.mend)
	}
}

// TestDoctorFindsNothing looks at deployments where all is well.
func TestDoctorFindsNothing(t *testing.T) {
	nothing := func(*testing.T, *config.Config) {}
	for _, tt := range []struct {
		name    string
		running bool
		prepare func(t *testing.T, cfg *config.Config)
	}{
		{"stopped", false, nothing},
		{"running", true, nothing},
		{"with a certificate", false, certificate(func(*chain) {})},
		{"with a ballast", true, func(_ *testing.T, cfg *config.Config) { cfg.Database.BallastSize = "1MiB" }},
		{"on PostgreSQL", true, func(t *testing.T, cfg *config.Config) {
			cfg.Database = config.Database{Engine: "postgresql", URL: dbtest.NewDatabase(t), Connections: 8}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t)
			tt.prepare(t, &cfg)
			if a := startApp(t, cfg); !tt.running {
				a.close()
			}
			for _, f := range Doctor(context.Background(), Options{Config: cfg}) {
				if !f.OK {
					t.Errorf("found %+v where all is well", f)
				}
			}
		})
	}
}

// TestDoctorOnPostgreSQL plants what only a PostgreSQL of one's own can have.
func TestDoctorOnPostgreSQL(t *testing.T) {
	server, err := dbtest.StartServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	if err := server.CreateDatabase("doctor"); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	cfg.Database = config.Database{Engine: "postgresql", URL: server.URL("doctor"), Connections: 8}
	initialise(t, cfg)
	raw, err := sql.Open("pgx", cfg.Database.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for _, tt := range []struct{ setting, value, found, mend string }{
		{"fsync", "off", "destroy the database", "ALTER SYSTEM SET fsync = on;"},
		{"synchronous_commit", "off", "lose answered writes", "ALTER SYSTEM SET synchronous_commit = on;"},
		{"full_page_writes", "off", "destroy pages", "ALTER SYSTEM SET full_page_writes = on;"},
		{"synchronous_standby_names", "nobody", "no synchronous standby is connected", "start the standby"},
	} {
		alter(t, raw, tt.setting, tt.value)
		wantFault(t, cfg, planted{name: tt.setting, subject: tt.setting, found: tt.found, mend: tt.mend})
		alter(t, raw, tt.setting, "")
	}
	run(t, raw, `INSERT INTO meta (key, value, row_mac) VALUES ('clock_offset_us', '600000000', '')`)
	wantFault(t, cfg, planted{name: "clock", subject: "clock", found: "off by 10m", mend: "on both machines"})
}

// alter sets a setting of the server, or with "" resets it, and waits until a new session has it.
func alter(t *testing.T, raw *sql.DB, setting, value string) {
	t.Helper()
	var before, now string
	show := func(to *string) {
		raw.SetMaxIdleConns(0) // a new session each time
		if err := raw.QueryRow(`SELECT current_setting($1)`, setting).Scan(to); err != nil {
			t.Fatal(err)
		}
	}
	show(&before)
	if value == "" {
		run(t, raw, `ALTER SYSTEM RESET `+setting)
	} else {
		run(t, raw, `ALTER SYSTEM SET `+setting+` = '`+value+`'`)
	}
	run(t, raw, `SELECT pg_reload_conf()`)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // a poll to a deadline
		if show(&now); now != before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still %q", setting, now)
		}
	}
}

func run(t *testing.T, d *sql.DB, q string) {
	t.Helper()
	if _, err := d.Exec(q); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

// TestDoctorOnVolume says how long the disk lasts, from figures of which the outcome is known.
func TestDoctorOnVolume(t *testing.T) {
	cfg := testConfig(t)
	if err := os.MkdirAll(cfg.Audit.SegmentDir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(cfg.Audit.SegmentDir, "a.segment"), strings.Repeat("x", 5000))
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	volume := audit.Volume{Entries: 2000, Bytes: 2000 * 512, First: day, Last: day.Add(48 * time.Hour)}
	archived := volume
	archived.Segments = []audit.SegmentFile{{Name: "a.segment", Entries: 100}, {Name: "elsewhere.segment", Entries: 7}}
	young, full := volume, volume
	young.Last = day.Add(time.Minute)
	full.Bytes = 1 << 60
	for _, tt := range []struct {
		name  string
		v     audit.Volume
		ok    bool
		found string
	}{
		{"two days", volume, true, "1000 entries a day, 500.0 KiB a day in the database, 500.0 KiB a day as segments; at that rate"},
		{"with segments", archived, true, "1000 entries a day, 500.0 KiB a day in the database, 48.8 KiB a day as segments; at that rate"},
		{"a minute", young, true, "too young"},
		{"more than the disk has", full, false, "lasts 0 days"},
	} {
		f := checkVolume(cfg, tt.v)
		if f.OK != tt.ok || !strings.Contains(f.Found, tt.found) {
			t.Errorf("%s: %+v, want %v and %q", tt.name, f, tt.ok, tt.found)
		}
	}
}

// What is wrong with a configuration is a finding each.
func TestDoctorOnConfiguration(t *testing.T) {
	got := ConfigurationFindings(errors.Join(errors.New("c.yaml:1: listen: want an address"), errors.New("flag: nonsense: no such key")))
	if len(got) != 2 || got[0].OK || got[1].Found != "flag: nonsense: no such key" || got[0].Mend == "" {
		t.Errorf("findings = %+v, want two", got)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// sqlite plants by a statement of somebody else.
func sqlite(q string) func(*testing.T, *config.Config) {
	return func(t *testing.T, cfg *config.Config) {
		t.Helper()
		d, err := sql.Open("sqlite", cfg.Database.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		run(t, d, q)
	}
}

func deploymentOf(t *testing.T, cfg config.Config) (id string) {
	t.Helper()
	d, err := sql.Open("sqlite", cfg.Database.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.QueryRow(`SELECT value FROM meta WHERE key = 'deployment_id'`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// A chain is a leaf and its authority, to be written to files.
type chain struct {
	begin, end         time.Duration // from now
	names              []string
	reversed, otherKey bool
	mode               os.FileMode // of the key
}

// certificate gives the deployment a certificate that is good but for what change does.
func certificate(change func(*chain)) func(*testing.T, *config.Config) {
	return func(t *testing.T, cfg *config.Config) {
		t.Helper()
		c := &chain{begin: -2 * time.Hour, end: 90 * 24 * time.Hour, mode: 0o600}
		for _, f := range cfg.Families() {
			c.names = append(c.names, "*."+f.VaultSuffix, f.Login, f.Management, f.Graph)
		}
		change(c)
		dir := t.TempDir()
		cfg.TLS = config.TLS{CertificateFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
		c.write(t, cfg.TLS)
	}
}

func (c *chain) write(t *testing.T, files config.TLS) {
	t.Helper()
	caKey, leafKey := newECKey(t), newECKey(t)
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: c.names,
		NotBefore: now.Add(c.begin), NotAfter: now.Add(c.end),
	}
	parts := []string{signed(t, leaf, ca, leafKey, caKey), signed(t, ca, ca, caKey, caKey)}
	if c.reversed {
		parts[0], parts[1] = parts[1], parts[0]
	}
	write(t, files.CertificateFile, strings.Join(parts, ""))
	if c.otherKey {
		leafKey = newECKey(t)
	}
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, files.KeyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	chmod(t, files.KeyFile, c.mode)
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t *testing.T, c, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
