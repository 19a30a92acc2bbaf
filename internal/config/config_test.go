package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"strongroom/internal/resource"
)

// unwrapped is the innermost error of a chain.
func unwrapped(err error) error {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err
}

// Every fact in the tags has to hold: defaults are allowed, ranges in order, forms known.
func TestTags(t *testing.T) {
	variables := map[string]string{}
	check := func(k key, v reflect.Value) {
		if d := k.tag.Get("default"); d != "" {
			if _, ok := k.parse(d); !ok {
				t.Errorf("%s: default %q is not allowed", k.path, d)
			}
		} else if k.tag.Get("derived") == "" {
			t.Errorf("%s: neither default nor derived", k.path)
		}
		least, most, ok := k.bounds()
		if ok != (k.typ == durationType || k.typ.Kind() == reflect.Int) || least > most {
			t.Errorf("%s: range %d..%d, %v", k.path, least, most, ok)
		}
		if k.typ.Kind() == reflect.String && k.want() == "" {
			t.Errorf("%s: want a form or oneof, found form %q", k.path, k.tag.Get("form"))
		}
		if other := variables[k.environment()]; other != "" {
			t.Errorf("%s and %s share %s", k.path, other, k.environment())
		}
		variables[k.environment()] = k.path
		if !strings.HasPrefix(k.path, "names.") && serviceLink.MatchString(k.environment()) {
			t.Errorf("%s: %s looks like a service link of Kubernetes", k.path, k.environment())
		}
	}
	each(reflect.ValueOf(Config{}), "", check)
	each(reflect.ValueOf(NameFamily{}), "names.", check)
}

func TestDefaults(t *testing.T) {
	for _, tt := range []struct {
		name             string
		in               Config
		data, root, path string
		families         resource.Families
	}{
		{
			name: "serve", in: Serve(), data: "/var/lib/strongroom", root: "/etc/strongroom/root.key",
			path:     filepath.Join("/var/lib/strongroom", "strongroom.db"),
			families: resource.Families{resource.NewFamily("local", "localhost", 8443)},
		},
		{
			name: "dev", in: Dev(""), data: ".strongroom", root: filepath.Join(".strongroom", "root.key"),
			path: filepath.Join(".strongroom", "strongroom.db"),
			families: resource.Families{
				resource.NewFamily("local", "localhost", 8443),
				resource.NewFamily("run", "strongroom.internal", 443),
			},
		},
	} {
		c, _, err := Load(Options{Defaults: tt.in})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := []any{c.DataDir, c.RootKey.File, c.Database.Path, c.Listen, c.Tokens.Lifetime, c.Limits.MaxHeaderBytes, c.Families()}
		want := []any{tt.data, tt.root, tt.path, "127.0.0.1:8443", time.Hour, 32768, tt.families}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
		if again := c.Complete(); !reflect.DeepEqual(again, c) {
			t.Errorf("%s: Complete is not stable: %+v, want %+v", tt.name, again, c)
		}
	}
}

func TestCheck(t *testing.T) {
	c := Config{Listen: "nowhere", Tokens: Tokens{Lifetime: time.Second}, Limits: Limits{Connections: -1}}
	c.Names = []NameFamily{{Name: "a", Domain: "example.org", Port: 443}}
	want := "listen: want an address as host:port, found \"nowhere\"\n" +
		"tokens.lifetime: want a duration with its unit, 5m to 24h, found \"1s\"\n" +
		"limits.connections: want a whole number, 10 to 1000000, found \"-1\""
	if err := c.Check(); err == nil || err.Error() != want {
		t.Errorf("Check() = %v, want %s", err, want)
	}
	if err := (Config{}).Check(); err != nil {
		t.Errorf("Check() of the zero value = %v, want nil", err)
	}
	if runtime.GOOS != "windows" {
		long := Config{Socket: "/" + strings.Repeat("s", maxSocket)}
		if err := long.Check(); err == nil || err.Error() != "socket: want a path of at most 103 bytes, found 104" {
			t.Errorf("Check() of a long socket = %v, want its limit", err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		in                string
		address, loopback bool
	}{
		{"127.0.0.1:8443", true, true},
		{"[::1]:8443", true, true},
		{"[::ffff:127.0.0.1]:1", true, true},
		{"localhost:0", true, true},
		{":8443", true, false},
		{"0.0.0.0:8443", true, false},
		{"[::]:8443", true, false},
		{"host-1.example.org:443", true, false},
		{"localhost.example.org:443", true, false},
		{"127.0.0.1", false, false},
		{"127.0.0.1:", false, false},
		{"127.0.0.1:http", false, false},
		{"127.0.0.1:08443", false, false},
		{"127.0.0.1:-1", false, false},
		{"::1:8443", false, false},
		{"a b:1", false, false},
		{"http://127.0.0.1:1", false, false},
	} {
		if address, loopback := isAddress(tt.in), isLoopbackAddress(tt.in); address != tt.address || loopback != tt.loopback {
			t.Errorf("%q: address %v, loopback %v, want %v, %v", tt.in, address, loopback, tt.address, tt.loopback)
		}
	}
}

func TestBareURL(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want bool
	}{
		{"postgres://u@h/d", true},
		{"postgresql:///d?host=/run/postgresql", true},
		{"postgres://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem", true},
		{"postgres://u:@h/d", false},
		{"postgres:u:p@h", false},
		{"mysql://u@h/d", false},
		{"postgres://u@h/d?%70assword=x", false},
		{"postgres://u@h/%zz", false},
		{"u@h", false},
	} {
		if got := isBareURL(tt.in); got != tt.want {
			t.Errorf("isBareURL(%q) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestReadSecretFile(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want, err  string
	}{
		{"plain", "hunter2", 0o600, "hunter2", ""},
		{"line", "hunter2\r\n", 0o400, "hunter2", ""},
		{"blanks", " a b \n\n", 0o600, " a b \n", ""},
		{"empty", "\n", 0o600, "", "want one line, found nothing"},
		{"group", "hunter2", 0o640, "", "want mode 0600 or 0400, found 0640"},
		{"others", "hunter2", 0o604, "", "want mode 0600 or 0400, found 0604"},
		{"large", strings.Repeat("hunter2", maxSecretFile), 0o600, "", "want at most 65536 bytes"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil { // past the umask
			t.Fatal(err)
		}
		if runtime.GOOS == "windows" && strings.Contains(tt.err, "mode") {
			continue
		}
		got, err := Database{URLFile: path}.ConnectionString()
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v, want %q, %s", tt.name, got, err, tt.want, tt.err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells the content", tt.name)
		}
	}
	if _, err := ReadSecretFile(dir); err == nil || !strings.Contains(err.Error(), "want a regular file") {
		t.Errorf("ReadSecretFile of a folder = %v, want a refusal", err)
	}
	if got, err := (Database{URL: "postgres://h/d"}).ConnectionString(); got != "postgres://h/d" || err != nil {
		t.Errorf("ConnectionString = %q, %v, want the URL", got, err)
	}
}

var update = flag.Bool("update", false, "write docs/configuration.md anew")

func TestReferenceIsCurrent(t *testing.T) {
	const page = "../../docs/configuration.md"
	want := Reference()
	if *update {
		if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, []byte(want)) {
		t.Errorf("%s is not what config.go says; renew it: go test ./internal/config -run TestReferenceIsCurrent -update", page)
	}
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"short", "short"},
		{strings.Repeat("a", 60), strings.Repeat("a", 60)},
		{strings.Repeat("a", 61), strings.Repeat("a", 60) + "…"},
		{strings.Repeat("a", 59) + "éé", strings.Repeat("a", 59) + "…"},
	} {
		if got := shorten(tt.in); got != tt.want {
			t.Errorf("shorten(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// The manual has words for every key, and its example loads.
func TestReferenceIsComplete(t *testing.T) {
	docs := comments(source)
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Config](), reflect.TypeFor[NameFamily](), reflect.TypeFor[Database](), reflect.TypeFor[RootKey](),
		reflect.TypeFor[TLS](), reflect.TypeFor[Tokens](), reflect.TypeFor[Limits](), reflect.TypeFor[Log](),
	} {
		for i := range typ.NumField() {
			if name := typ.Name() + "." + typ.Field(i).Name; docs[name] == "" {
				t.Errorf("%s has no comment", name)
			}
		}
	}
	_, rest, _ := strings.Cut(referenceHead, "```yaml\n")
	example, _, _ := strings.Cut(rest, "```")
	if _, _, err := Load(Options{File: write(t, example)}); err != nil {
		t.Errorf("the example of the manual: %v", err)
	}
}
