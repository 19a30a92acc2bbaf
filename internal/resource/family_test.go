package resource

import (
	"regexp"
	"strings"
	"testing"
)

var families = Families{
	NewFamily("default", "example.org", 8443),
	NewFamily("other", "example.net", 443),
	{
		Name: "azure", VaultSuffix: "vault.azure.net", Login: "login.microsoftonline.com",
		Management: "management.azure.com", Graph: "graph.microsoft.com", Port: 443,
	},
}

func TestResolve(t *testing.T) {
	for _, tt := range []struct {
		host, family string
		face         FaceName
		vault        string
		suffix       string
	}{
		{"dev.vault.example.org", "default", Vault, "dev", "vault.example.org"},
		{"dev.vault.example.org:8443", "default", Vault, "dev", "vault.example.org:8443"},
		{"dev.vault.example.org:1", "default", Vault, "dev", "vault.example.org:1"}, // ports are not compared
		{"dev.vault.example.org.", "default", Vault, "dev", "vault.example.org."},
		{"dev.vault.example.org.:443", "default", Vault, "dev", "vault.example.org.:443"},
		{"DeV.Vault.EXAMPLE.org:443", "default", Vault, "DeV", "Vault.EXAMPLE.org:443"},
		{"vault.vault.example.net", "other", Vault, "vault", "vault.example.net"},
		{"p1.vault.azure.net", "azure", Vault, "p1", "vault.azure.net"},
		{strings.Repeat("a", 63) + ".vault.example.org", "default", Vault, strings.Repeat("a", 63), "vault.example.org"},

		{"login.example.org:8443", "default", Login, "", ""},
		{"LOGIN.example.org.", "default", Login, "", ""},
		{"westeurope.login.example.org", "default", Login, "", ""},
		{"login.microsoftonline.com", "azure", Login, "", ""},
		{"management.example.net", "other", Management, "", ""},
		{"Graph.Example.Org:65535", "default", Graph, "", ""},
	} {
		h, ok := families.Resolve(tt.host)
		if !ok || h.Family.Name != tt.family || h.Face != tt.face || h.Vault != tt.vault || h.Suffix != tt.suffix || h.Text != strings.TrimSuffix(tt.host, ":443") {
			t.Errorf("Resolve(%q) = %q %q %q %q, %v, want %q %q %q %q", tt.host,
				h.Family.Name, h.Face, h.Vault, h.Suffix, ok, tt.family, tt.face, tt.vault, tt.suffix)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, host := range []string{
		"", ".", ":", ":443", "localhost", "127.0.0.1:8443", "[::1]:8443", "[login.example.org]:443",
		"example.org", "vault.example.org", ".vault.example.org", "..vault.example.org", "vault.example.org.evil.net",
		"dev.vault.example.org..", "a.b.vault.example.org", "devvault.example.org", "dev.vault.example.orgx",
		"dev_1.vault.example.org", "dev vault.example.org", "dev.vault.example.org:", "dev.vault.example.org:x",
		"dev.vault.example.org:123456", "dev.vault.example.org:65536", "dev.vault.example.org:1:2", "dev.vault.example.org:80\", x=\"y",
		"dev.vault.example.org\r\nX: y", "dev.vault.example.org/", "dev.vault.example.org\x00", "user@dev.vault.example.org",
		"xlogin.example.org", "a.b.login.example.org", ".login.example.org", "\".login.example.org", "a:b.login.example.org",
		"x.management.example.org", "x.graph.example.org", "login.example.org,management.example.org",
		strings.Repeat("a", 64) + ".vault.example.org",
		// Letters whose lower-case form has another length in UTF-8, and bytes that are none.
		strings.Repeat("Ⱥ", 60) + ".vault.example.org", "\u212A.vault.example.org", "İ.login.example.org",
		strings.Repeat("\xff", 60) + ".vault.example.org",
	} {
		if h, ok := families.Resolve(host); ok {
			t.Errorf("Resolve(%q) = %+v, want none", host, h)
		}
	}
}

// What a family prints as its own host must resolve to itself.
func TestOwnHostsResolve(t *testing.T) {
	for _, f := range families {
		for _, want := range []Host{f.VaultHost("dev"), f.LoginHost(), f.ManagementHost(), f.GraphHost()} {
			if got, ok := families.Resolve(want.Text); !ok || got != want {
				t.Errorf("Resolve(%q) = %+v, %v, want %+v", want.Text, got, ok, want)
			}
		}
		if err := f.Check(); err != nil {
			t.Errorf("family %s: Check = %v, want nil", f.Name, err)
		}
	}
}

func TestFamilyURLs(t *testing.T) {
	f, plain := families[0], families[1]
	for _, tt := range []struct{ got, want string }{
		{f.VaultURL("dev"), "https://dev.vault.example.org:8443"},
		{f.VaultResource(), "https://vault.example.org:8443"},
		{f.LoginURL(), "https://login.example.org:8443"},
		{f.ManagementURL(), "https://management.example.org:8443"},
		{f.GraphURL(), "https://graph.example.org:8443"},
		{f.IssuerV1("t"), "https://login.example.org:8443/t/"},
		{f.IssuerV2("t"), "https://login.example.org:8443/t/v2.0"},
		{plain.VaultURL("dev"), "https://dev.vault.example.net"},
		{plain.LoginURL(), "https://login.example.net"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestFamilyCheck(t *testing.T) {
	for _, tt := range []struct {
		change func(*Family)
		err    string
	}{
		{func(f *Family) { f.VaultSuffix = "Vault.example.org" }, "vault_suffix"},
		{func(f *Family) { f.VaultSuffix = "keys.example.org" }, "begins with \"vault.\""},
		{func(f *Family) { f.VaultSuffix = "vault" }, "two labels"},
		{func(f *Family) { f.Login = "token.example.org" }, "token"},
		{func(f *Family) { f.Login = "login.example.org:8443" }, "login_host"},
		{func(f *Family) { f.Management = "" }, "management_host"},
		{func(f *Family) { f.Graph = "graph..org" }, "graph_host"},
		{func(f *Family) { f.Port = 0 }, "port 0"},
		{func(f *Family) { f.Port = 65536 }, "port 65536"},
	} {
		f := NewFamily("default", "example.org", 443)
		tt.change(&f)
		if err := f.Check(); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("Check(%+v) = %v, want an error with %q", f, err, tt.err)
		}
	}
}

// FuzzResolve: whatever a host header holds, nothing of it that could break out of a header or a
// URL comes back as a part.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"dev.vault.example.org:8443", "login.example.org.", "Ⱥ.vault.example.org", "a:b:c", "[::1]:1"} {
		f.Add(s)
	}
	plain := regexp.MustCompile(`^[0-9A-Za-z.-]*(:[0-9]+)?$`)
	f.Fuzz(func(t *testing.T, s string) {
		h, ok := families.Resolve(s)
		if !ok {
			if h != (Host{}) {
				t.Errorf("Resolve(%q) = %+v beside false, want nothing", s, h)
			}
			return
		}
		if h.Text != strings.TrimSuffix(s, ":443") || !plain.MatchString(s) || (h.Face == Vault) != (h.Vault != "") {
			t.Errorf("Resolve(%q) = %+v", s, h)
		}
		if h.Face == Vault && h.Vault+"."+h.Suffix != s {
			t.Errorf("Resolve(%q): vault %q and suffix %q do not make the host", s, h.Vault, h.Suffix)
		}
	})
}
