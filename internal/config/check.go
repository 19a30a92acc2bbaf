package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"

	"strongroom/internal/resource"
)

// Check says what is wrong with c once its defaults are filled in, a line for each problem,
// or nil. It looks at the settings, not into the files they name.
func (c Config) Check() error {
	var errs []error
	for _, p := range c.Complete().problems() {
		errs = append(errs, errors.New(p.text))
	}
	return errors.Join(errs...)
}

// problems checks a complete configuration.
func (c Config) problems() []problem {
	ps := checkKeys(reflect.ValueOf(c), "")
	ps = append(ps, c.checkListeners()...)
	ps = append(ps, c.checkSocket()...)
	ps = append(ps, c.Database.check()...)
	ps = append(ps, c.checkRootKey()...)
	ps = append(ps, c.TLS.check()...)
	return append(ps, c.checkNames()...)
}

// checkKeys holds the values of a struct against the tags. What is still empty has no default
// and may stay so.
func checkKeys(v reflect.Value, prefix string) (ps []problem) {
	each(v, prefix, func(k key, v reflect.Value) {
		if !v.IsZero() && !k.allows(v) {
			ps = append(ps, wrong(k.path, "%s", k.mismatch(fmt.Sprint(v.Interface()))))
		}
	})
	return ps
}

func wrong(path, format string, args ...any) problem {
	return problem{path: path, text: path + ": " + fmt.Sprintf(format, args...)}
}

// checkListeners finds an address that two listeners would fight for.
func (c Config) checkListeners() (ps []problem) {
	taken := map[string]string{Off: ""}
	for _, l := range []struct{ path, address string }{
		{"listen", c.Listen},
		{"metrics_listen", c.MetricsListen},
		{"identity_listen", c.IdentityListen},
		{"debug_listen", c.DebugListen},
	} {
		other, is := taken[l.address]
		if is && l.address != Off && portOf(l.address) != 0 {
			ps = append(ps, wrong(l.path, "want an address of its own, found that of %s: %q", other, l.address))
		}
		taken[l.address] = l.path
	}
	if c.DebugListen != Off && !isLoopbackAddress(c.DebugListen) {
		ps = append(ps, wrong("debug_listen", "want an address of loopback, such as 127.0.0.1:6060, found %q", c.DebugListen))
	}
	return ps
}

// maxSocket is the room for a path in sockaddr_un of macOS, without the zero at its end; Linux
// has four bytes more.
const maxSocket = 103

func (c Config) checkSocket() []problem {
	if runtime.GOOS == "windows" || len(c.Socket) <= maxSocket {
		return nil
	}
	return []problem{wrong("socket", "want a path of at most %d bytes, found %d", maxSocket, len(c.Socket))}
}

// check finds settings of the other engine: they show that the operator means something else
// than what would run.
func (d Database) check() (ps []problem) {
	switch {
	case d.Engine == "sqlite" && d.URL != "":
		ps = append(ps, wrong("database.url", "want it with database.engine postgresql only, found sqlite"))
	case d.Engine == "sqlite" && d.URLFile != "":
		ps = append(ps, wrong("database.url_file", "want it with database.engine postgresql only, found sqlite"))
	case d.Engine == "postgresql" && d.Path != "":
		ps = append(ps, wrong("database.path", "want it with database.engine sqlite only, found postgresql"))
	}
	if d.Engine == "postgresql" && (d.URL == "") == (d.URLFile == "") {
		found := "neither"
		if d.URL != "" {
			found = "both"
		}
		ps = append(ps, wrong("database.url", "want one of database.url and database.url_file with postgresql, found %s", found))
	}
	return ps
}

// checkRootKey keeps the root key away from what it seals: a backup of data_dir takes along what
// lies in it, though the setting names a link elsewhere that leads there.
func (c Config) checkRootKey() (ps []problem) {
	r := c.RootKey
	if r.File != "" && r.PassphraseFile != "" {
		ps = append(ps, wrong("root_key.passphrase_file", "want one of root_key.file and root_key.passphrase_file, found both"))
	}
	for _, f := range []struct{ path, file string }{
		{"root_key.file", r.File}, {"root_key.passphrase_file", r.PassphraseFile},
	} {
		if f.file != "" && !r.InsideDataDir && within(c.DataDir, f.file) {
			ps = append(ps, wrong(f.path, "want a file outside data_dir, or root_key.inside_data_dir: true"))
		}
	}
	return ps
}

// within says whether the file lies in the folder or below it, by its name or where links lead.
func within(folder, file string) bool {
	return isBelow(folder, file) || isBelow(followed(folder), followed(file))
}

func isBelow(folder, file string) bool {
	f, err1 := filepath.Abs(folder)
	name, err2 := filepath.Abs(file)
	rel, err3 := filepath.Rel(f, name)
	if errors.Join(err1, err2, err3) != nil {
		return false // on another drive, or unknown: judged when the file is opened
	}
	return rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// followed is where the links of a path lead, as far as it exists.
func followed(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(followed(parent), filepath.Base(path))
	}
	return path
}

func (t TLS) check() []problem {
	switch {
	case t.CertificateFile != "" && t.KeyFile == "":
		return []problem{wrong("tls.key_file", "want the key of tls.certificate_file, found nothing")}
	case t.CertificateFile == "" && t.KeyFile != "":
		return []problem{wrong("tls.certificate_file", "want the certificate of tls.key_file, found nothing")}
	}
	return nil
}

// checkNames checks each family and that no name or host stands in two places.
func (c Config) checkNames() (ps []problem) {
	seen := map[string]string{}
	for i, n := range c.Names {
		path := fmt.Sprintf("names[%d]", i)
		found := append(checkKeys(reflect.ValueOf(n), path+"."), n.check(path)...)
		if len(found) == 0 {
			found = n.overlaps(path, seen)
		}
		for j := range found { // the entry has a line of its own
			found[j].path = path
		}
		ps = append(ps, found...)
	}
	return ps
}

func (n NameFamily) check(path string) (ps []problem) {
	if n.Name == "" {
		ps = append(ps, wrong(path+".name", "want %s, found nothing", forms["word"].want))
	}
	if err := n.family().Check(); err != nil {
		ps = append(ps, problem{text: path + "." + err.Error()})
	}
	return ps
}

// overlaps enters the names of a family into seen and tells which were there.
func (n NameFamily) overlaps(path string, seen map[string]string) (ps []problem) {
	for _, u := range []struct{ key, value string }{
		{"name", "name " + n.Name}, // cannot be a host: it has a blank
		{"vault_suffix", n.VaultSuffix},
		{"login_host", n.LoginHost},
		{"management_host", n.ManagementHost},
		{"graph_host", n.GraphHost},
	} {
		full := path + "." + u.key
		if other, twice := seen[u.value]; twice {
			value := strings.TrimPrefix(u.value, "name ")
			ps = append(ps, wrong(full, "want a name used once, found that of %s: %q", other, value))
			continue
		}
		seen[u.value] = full
	}
	return ps
}

// Families returns the families of a complete configuration; the first is the default.
func (c Config) Families() resource.Families {
	var fs resource.Families
	for _, n := range c.Names {
		fs = append(fs, n.family())
	}
	return fs
}

func (n NameFamily) family() resource.Family {
	return resource.Family{
		Name: n.Name, VaultSuffix: n.VaultSuffix, Login: n.LoginHost,
		Management: n.ManagementHost, Graph: n.GraphHost, Port: n.Port,
	}
}

// completeNames fills in the hosts of domains and the port of the listener. The given list
// stays as it is.
func completeNames(names []NameFamily, port int) []NameFamily {
	if len(names) == 0 {
		names = []NameFamily{{Name: "local", Domain: "localhost"}}
	}
	complete := make([]NameFamily, 0, len(names))
	for _, n := range names {
		if n.Domain != "" {
			f := resource.NewFamily(n.Name, n.Domain, port)
			setIfEmpty(&n.VaultSuffix, f.VaultSuffix)
			setIfEmpty(&n.LoginHost, f.Login)
			setIfEmpty(&n.ManagementHost, f.Management)
			setIfEmpty(&n.GraphHost, f.Graph)
		}
		if n.Port == 0 {
			n.Port = port
		}
		complete = append(complete, n)
	}
	return complete
}
