package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"strongroom/internal/resource"
)

// write puts text into a file of a fresh folder and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadRefuses(t *testing.T) {
	const dbURL = "want postgres://user@host/database without a password, which belongs into the file that database.url_file names"
	for _, tt := range []struct{ name, in, want string }{
		{
			"unknown key", "region: eu\nregoin: eu\n",
			"c.yaml:2: regoin: no such key; want one of data_dir, listen, metrics_listen, debug_listen, identity_listen, socket, " +
				"region, names, database, root_key, tls, tokens, limits, scrub_interval, audit, log",
		},
		{
			"unknown key in a section", "database:\n  engin: sqlite\n",
			"c.yaml:2: database.engin: no such key; want one of engine, path, ballast_size, url, url_file, connections",
		},
		{
			"a path as a key", "log.level: info\nlog: {level: info}\n",
			"c.yaml:1: log.level: no such key; want one of data_dir, listen, metrics_listen, debug_listen, identity_listen, socket, " +
				"region, names, database, root_key, tls, tokens, limits, scrub_interval, audit, log",
		},
		{
			"unknown key in a list, index as a key", "names:\n- {name: a, domain: example.org, prt: 1}\n",
			"c.yaml:2: names[0].prt: no such key; want one of name, domain, vault_suffix, login_host, management_host, graph_host, port",
		},
		{"duplicate key", "region: a\n\nregion: b\n", "c.yaml:3: region: want the key once, found it in line 1 too"},
		{
			"duplicate key in a section", "log:\n  level: info\n  level: info\n",
			"c.yaml:3: log.level: want the key once, found it in line 2 too",
		},
		{"not a mapping", "- a\n", "c.yaml:1: want keys and values, found a list"},
		{"section as text", "log: debug\n", "c.yaml:1: log: want keys and values, found a single value"},
		{"list as text", "names: a\n", "c.yaml:1: names: want a list, found a single value"},
		{"list entry as text", "names: [a]\n", "c.yaml:1: names[0]: want keys and values, found a single value"},
		{"text as a list", "region: [a]\n", "c.yaml:1: region: want up to 64 lower-case letters, digits and hyphens, found a list"},
		{"nothing", "region:\n", "c.yaml:1: region: want up to 64 lower-case letters, digits and hyphens, found nothing"},
		{"empty text", "data_dir: ''\n", "c.yaml:1: data_dir: want the path of a file or folder, found nothing"},
		{
			"alias", "region: &r eu\nlog: {format: *r}\n",
			"c.yaml:2: log.format: want text or json, found an alias",
		},
		{
			"tag", "region: !!binary aGk=\n",
			"c.yaml:1: region: want up to 64 lower-case letters, digits and hyphens, found a tag",
		},
		{"two documents", "region: eu\n---\nregion: us\n", "c.yaml:2: want one document, found a second"},
		{"no YAML", "log: [\n", "c.yaml:2: want YAML: did not find expected node content"},
		{"key that breaks lines", "\"a\\nb\": 1\n", "c.yaml:1: \"a\\nb\": no such key; want one of data_dir, listen, " +
			"metrics_listen, debug_listen, identity_listen, socket, region, names, database, root_key, tls, tokens, limits, scrub_interval, audit, log"},
		{
			"duration without a unit", "tokens: {lifetime: 3600}\n",
			"c.yaml:1: tokens.lifetime: want a duration with its unit, 5m to 24h, found \"3600\"",
		},
		{
			"duration out of range", "tokens: {lifetime: 25h}\n",
			"c.yaml:1: tokens.lifetime: want a duration with its unit, 5m to 24h, found \"25h\"",
		},
		{"octal number", "database: {connections: 016}\n", "c.yaml:1: database.connections: want a whole number, 4 to 200, found \"016\""},
		{"fraction", "database: {connections: 16.0}\n", "c.yaml:1: database.connections: want a whole number, 4 to 200, found \"16.0\""},
		{"zero", "database: {connections: 0}\n", "c.yaml:1: database.connections: want a whole number, 4 to 200, found \"0\""},
		{"yes", "root_key: {inside_data_dir: yes}\n", "c.yaml:1: root_key.inside_data_dir: want true or false, found \"yes\""},
		{"word of a set", "database: {engine: mysql}\n", "c.yaml:1: database.engine: want sqlite or postgresql, found \"mysql\""},
		{"two words of a set", "log: {format: text|json}\n", "c.yaml:1: log.format: want text or json, found \"text|json\""},
		{"address", "listen: 8443\n", "c.yaml:1: listen: want an address as host:port, found \"8443\""},
		{"listen off", "listen: off\n", "c.yaml:1: listen: want an address as host:port, found \"off\""},
		{"port", "listen: ':65536'\n", "c.yaml:1: listen: want an address as host:port, found \":65536\""},
		{
			"identity outside loopback", "identity_listen: 0.0.0.0:8440\n",
			"c.yaml:1: identity_listen: want a loopback address as 127.0.0.1:port, or off, found \"0.0.0.0:8440\"",
		},
		{
			"address twice", "metrics_listen: 127.0.0.1:8443\n",
			"c.yaml:1: metrics_listen: want an address of its own, found that of listen: \"127.0.0.1:8443\"",
		},
		{"password in the URL", "database: {engine: postgresql, url: 'postgres://u:hunter2@h/d'}\n", "c.yaml:1: database.url: " + dbURL},
		{"password in the query", "database: {engine: postgresql, url: 'postgres://u@h/d?PassWord=hunter2'}\n", "c.yaml:1: database.url: " + dbURL},
		{"password for the TLS key", "database: {engine: postgresql, url: 'postgres://u@h/d?sslpassword=hunter2'}\n", "c.yaml:1: database.url: " + dbURL},
		{"key=value with a password", "database: {engine: postgresql, url: 'host=h password=hunter2'}\n", "c.yaml:1: database.url: " + dbURL},
		{"broken query", "database: {engine: postgresql, url: 'postgres://u@h/d?a=1;password=hunter2'}\n", "c.yaml:1: database.url: " + dbURL},
		{"connection string as a path", "database: {engine: postgresql, url_file: 'postgres://u:hunter2@h/d'}\n", "c.yaml:1: database.url_file: want the path of a file or folder"},
		{"no URL", "database:\n  engine: postgresql\n", "database.url: want one of database.url and database.url_file with postgresql, found neither"},
		{
			"two URLs", "database:\n  engine: postgresql\n  url: postgres://u@h/d\n  url_file: /f\n",
			"c.yaml:3: database.url: want one of database.url and database.url_file with postgresql, found both",
		},
		{"URL with sqlite", "database: {url: 'postgres://u@h/d'}\n", "c.yaml:1: database.url: want it with database.engine postgresql only, found sqlite"},
		{"URL file with sqlite", "database: {url_file: /f}\n", "c.yaml:1: database.url_file: want it with database.engine postgresql only, found sqlite"},
		{
			"path with postgresql", "database: {engine: postgresql, url_file: /f, path: /p}\n",
			"c.yaml:1: database.path: want it with database.engine sqlite only, found postgresql",
		},
		{
			"two root keys", "root_key: {file: /a, passphrase_file: /b}\n",
			"c.yaml:1: root_key.passphrase_file: want one of root_key.file and root_key.passphrase_file, found both",
		},
		{
			"root key in the data folder", "data_dir: /d\nroot_key:\n  file: /e/../d/k\n",
			"c.yaml:3: root_key.file: want a file outside data_dir, or root_key.inside_data_dir: true",
		},
		{"certificate alone", "tls: {certificate_file: /c}\n", "tls.key_file: want the key of tls.certificate_file, found nothing"},
		{"key alone", "tls: {key_file: /k}\n", "tls.certificate_file: want the certificate of tls.key_file, found nothing"},
		{
			"family without a name", "names:\n- domain: example.org\n",
			"c.yaml:2: names[0].name: want up to 64 lower-case letters, digits and hyphens, found nothing",
		},
		{
			"family without hosts", "names:\n- name: a\n",
			"c.yaml:2: names[0].vault_suffix \"\": want a lower-case host name of two labels or more",
		},
		{
			"vault suffix", "names:\n- {name: a, domain: example.org}\n- {name: b, domain: example.com, vault_suffix: kv.example.com}\n",
			"c.yaml:3: names[1].vault_suffix \"kv.example.com\": want a name that begins with \"vault.\", as clients demand",
		},
		{
			"two families alike", "names:\n- {name: a, domain: example.org}\n- {name: a, domain: example.com, login_host: login.example.org}\n",
			"c.yaml:3: names[1].name: want a name used once, found that of names[0].name: \"a\"\n" +
				"c.yaml:3: names[1].login_host: want a name used once, found that of names[0].login_host: \"login.example.org\"",
		},
		{
			"several", "log: {level: loud}\nlimits: {idle_timeout: never}\n",
			"c.yaml:1: log.level: want debug or info or warn or error, found \"loud\"\n" +
				"c.yaml:2: limits.idle_timeout: want a duration with its unit, 1s to 1h, found \"never\"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, tt.in)
			_, _, err := Load(Options{File: file})
			if got := withoutFolder(err, file); got != tt.want {
				t.Errorf("Load(%q):\n got %s\nwant %s", tt.in, got, tt.want)
			}
		})
	}
}

// withoutFolder is the text of an error without the folder of the test.
func withoutFolder(err error, file string) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), filepath.Dir(file)+string(filepath.Separator), "")
}

func TestLoadLayers(t *testing.T) {
	file := write(t, `# every layer over the one before
region: from-file
listen: :9443
database: {connections: 20}
tokens: {lifetime: 10m}
log:
  # level: debug
names:
- {name: public, domain: example.org, port: 443}
- {name: internal, domain: corp.example, login_host: sts.corp.example}
`)
	c, notes, err := Load(Options{
		File: file,
		Environ: []string{
			"HOME=/", "STRONGROOM_REGION=from-env", "STRONGROOM_DATABASE_CONNECTIONS=30", "STRONGROOM_LOG_LEVEL=",
			"STRONGROOM_PORT=tcp://10.0.0.1:8443", "STRONGROOM_SERVICE_HOST=10.0.0.1", "STRONGROOM_PORT_8443_TCP_ADDR=10.0.0.1",
			"STRONGROOM_VAULT=dev",
		},
		Others:   []string{"STRONGROOM_VAULT"},
		Flags:    map[string]string{"database.connections": "40", "root_key.inside_data_dir": "false"},
		Defaults: Dev("/d"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ key, got, want any }{
		{"region", c.Region, "from-env"},
		{"database.connections", c.Database.Connections, 40},
		{"tokens.lifetime", c.Tokens.Lifetime, 10 * time.Minute},
		{"log.level", c.Log.Level, "info"},
		{"data_dir", c.DataDir, "/d"},
		{"socket", c.Socket, filepath.Join("/d", "strongroom.sock")},
		{"root_key.file", c.RootKey.File, "/etc/strongroom/root.key"},
		{"families", len(c.Families()), 2},
		{"family 0", c.Families()[0], resource.NewFamily("public", "example.org", 443)},
		{"family 1", c.Families()[1].Login, "sts.corp.example"},
		{"port by listen", c.Families()[1].Port, 9443},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %v, want %v", tt.key, tt.got, tt.want)
		}
	}
	got := strings.ReplaceAll(strings.Join(notes, "\n"), file, "c.yaml")
	want := `configuration file c.yaml
listen = ":9443" (c.yaml:3)
socket = "/d/strongroom.sock" (default)
region = "from-env" (STRONGROOM_REGION)
names = public on vault.example.org:443, internal on vault.corp.example:9443 (c.yaml:9)
database.path = "/d/strongroom.db" (default)
database.connections = 40 (flag)
root_key.file = "/etc/strongroom/root.key" (default)
root_key.inside_data_dir = false (flag)
tokens.lifetime = 10m0s (c.yaml:5)
audit.segment_dir = "/d/audit" (default)`
	if filepath.ToSlash(got) != want {
		t.Errorf("notes:\n%s\nwant:\n%s", got, want)
	}
}

func TestLoadOutsideRefuses(t *testing.T) {
	for _, tt := range []struct {
		environ []string
		flags   map[string]string
		want    string
	}{
		{
			environ: []string{"STRONGROOM_DATABSE_ENGINE=sqlite"},
			want:    "environment: STRONGROOM_DATABSE_ENGINE: no such key; want the path of a key in capitals, such as STRONGROOM_DATABASE_ENGINE",
		},
		{
			environ: []string{"STRONGROOM_NAMES=a"},
			want:    "STRONGROOM_NAMES: names: want lists in the configuration file, where each entry has a line",
		},
		{
			environ: []string{"STRONGROOM_LIMITS_CONNECTIONS=many"},
			want:    "STRONGROOM_LIMITS_CONNECTIONS: limits.connections: want a whole number, 10 to 1000000, found \"many\"",
		},
		{
			environ: []string{"STRONGROOM_DATABASE_ENGINE=postgresql", "STRONGROOM_DATABASE_URL=postgres://u:hunter2@h/d"},
			want: "STRONGROOM_DATABASE_URL: database.url: want postgres://user@host/database without a password, " +
				"which belongs into the file that database.url_file names",
		},
		{
			environ: []string{"STRONGROOM_METRICS_LISTEN=[::1]:1", "STRONGROOM_LISTEN=[::1]:1"},
			want:    "STRONGROOM_METRICS_LISTEN: metrics_listen: want an address of its own, found that of listen: \"[::1]:1\"",
		},
		{flags: map[string]string{"databse.engine": "sqlite"}, want: "flag: databse.engine: no such key"},
		{flags: map[string]string{"names[0].port": "1"}, want: "flag: names[0].port: no such key"},
		{flags: map[string]string{"log.level": ""}, want: "flag: log.level: want debug or info or warn or error, found nothing"},
	} {
		_, _, err := Load(Options{Environ: tt.environ, Flags: tt.flags, Defaults: Dev("")})
		if got := withoutFolder(err, "x"); got != tt.want {
			t.Errorf("Load(%q, %q):\n got %s\nwant %s", tt.environ, tt.flags, got, tt.want)
		}
	}
}

func TestLoadFiles(t *testing.T) {
	for _, in := range []string{"", "# comments only\n", "---\n", "log:\n"} {
		if _, _, err := Load(Options{File: write(t, in)}); err != nil {
			t.Errorf("Load(%q) = %v, want no error", in, err)
		}
	}
	if _, _, err := Load(Options{File: filepath.Join(t.TempDir(), "none")}); !os.IsNotExist(unwrapped(err)) {
		t.Errorf("Load of no file = %v, want that it is not there", err)
	}
	large := write(t, strings.Repeat("#", maxFile+1))
	if _, _, err := Load(Options{File: large}); err == nil || !strings.Contains(err.Error(), "want at most 1048576 bytes") {
		t.Errorf("Load of a large file = %v, want the limit", err)
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", "region: eu\n", "names:\n- {name: a, domain: example.org}\n", "log: {level: info}\nlog: 1\n",
		"a: &a [*a]\n", "? [x]\n: y\n", "names[0]: {name: a}\n", "database: {engine: postgresql, url: 'postgres://h'}\n",
		"listen: '[::1%lo]:1'\n", "<<: {region: a}\n", "tokens: {lifetime: !!str 1h}\n", "\x00", "--- !x\n...\n",
	} {
		f.Add(seed)
	}
	file := filepath.Join(f.TempDir(), "c.yaml")
	f.Fuzz(func(t *testing.T, in string) {
		if err := os.WriteFile(file, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := Load(Options{File: file})
		if err != nil {
			return
		}
		if err := c.Check(); err != nil {
			t.Errorf("Load(%q) took what Check refuses: %v", in, err)
		}
	})
}
