// Package resource names things: hosts and name families, ARM ids and scopes, vault and
// object names. It only parses and prints; whether a thing exists is the domain's business.
package resource

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Family is one set of host names under which the whole service answers. Ids, links, issuer,
// challenge and vaultUri of an answer are of the family by which the request came.
type Family struct {
	Name        string // a word for logs and configuration, e.g. "default"
	VaultSuffix string // "vault.example.org": a vault's host is its name, a dot, and this
	Login       string // "login.example.org"; any label before it is the regional form
	Management  string // "management.example.org"
	Graph       string // "graph.example.org"
	Port        int    // the port clients use; 443 is left out of URLs

	// Of the clouds, see Clouds.
	LoginAliases [3]string // other hosts of sign-in; "" is none
	STS          string    // the host that the issuer of v1 tokens has; "" is Login

	// InRun marks the families of a program under "strongroom run", which has its settings from another
	// cloud: each tenant that it names is the home tenant, and there are tokens for every audience.
	InRun bool
	// Tenant is what challenges name in place of the home tenant; "" is that one. Only in runs.
	Tenant string
}

// NewFamily returns the family of a domain: vault.<domain>, login.<domain>, management.<domain>
// and graph.<domain> on the given port.
func NewFamily(name, domain string, port int) Family {
	return Family{
		Name: name, VaultSuffix: "vault." + domain, Login: "login." + domain,
		Management: "management." + domain, Graph: "graph." + domain, Port: port,
	}
}

// A FaceName says which of the service's faces a host belongs to.
type FaceName string

// The faces that have a host.
const (
	Vault      FaceName = "vault"
	Login      FaceName = "login"
	Management FaceName = "management"
	Graph      FaceName = "graph"
)

// A Host is what a request's Host header resolves to.
type Host struct {
	Family Family
	Face   FaceName
	Vault  string // the vault's name as the caller wrote it, for Face Vault
	Suffix string // the vault host without its first label, with the port if there was one, as written
	Text   string // the host as the caller wrote it, with the port if there was one and it is not 443
}

// Families is the ordered list of families; the first is the default one.
type Families []Family

// Resolve finds the face and family of a Host header. Letter case does not count and the port
// is not compared: a forwarded port is the deployment's business. What is no host name with at
// most a port is nobody's: parts of it come back in ids, links and the challenge.
func (fs Families) Resolve(host string) (Host, bool) {
	name, port, ok := SplitHost(host)
	if !ok {
		return Host{}, false
	}
	lower := strings.ToLower(strings.TrimSuffix(name, "."))
	for _, f := range fs {
		h := Host{Family: f, Text: strings.TrimSuffix(host, ":443")}
		switch {
		case f.IsLogin(lower) || isRegional(lower, f.Login) || slices.ContainsFunc(f.LoginAliases[:], func(a string) bool { return isRegional(lower, a) }):
			h.Face = Login
		case lower == f.Management:
			h.Face = Management
		case lower == f.Graph:
			h.Face = Graph
		case strings.HasSuffix(lower, "."+f.VaultSuffix):
			label := name[:len(lower)-len(f.VaultSuffix)-1]
			if !isVaultLabel(label) {
				return Host{}, false
			}
			h.Face, h.Vault, h.Suffix = Vault, label, name[len(label)+1:]+port
		default:
			continue
		}
		return h, true
	}
	return Host{}, false
}

// SplitHost takes a host apart: a name of 1 to 254 characters of [0-9a-zA-Z.-], since lower-casing
// others changes their length, and its port with the colon, or "".
func SplitHost(host string) (name, port string, ok bool) {
	name = host
	if i := strings.IndexByte(host, ':'); i >= 0 {
		name, port = host[:i], host[i:]
		if _, err := strconv.ParseUint(port[1:], 10, 16); err != nil || len(port) > len(":65535") {
			return "", "", false
		}
	}
	return name, port, len(name) >= 1 && len(name) <= 254 && isName(name, ".-")
}

// isName says whether s has only ASCII letters, digits and the others.
func isName(s, others string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte(others, c) < 0:
			return false
		}
	}
	return true
}

// isVaultLabel says whether s can be the first label of a vault's host.
func isVaultLabel(s string) bool { return len(s) >= 1 && len(s) <= 63 && isName(s, "-") }

func isRegional(host, login string) bool {
	label, ok := strings.CutSuffix(host, "."+login)
	return ok && login != "" && isVaultLabel(label)
}

// IsLogin says whether a host name in lower case is a login host of the family, the regional form left
// out.
func (f Family) IsLogin(name string) bool {
	return name == f.Login || name != "" && slices.Contains(f.LoginAliases[:], name)
}

// authority prints a host name with the family's port, which 443 is left out of.
func (f Family) authority(host string) string {
	if f.Port == 443 || f.Port == 0 {
		return host
	}
	return host + ":" + strconv.Itoa(f.Port)
}

// LoginURL is "https://login.example.org[:port]", without a slash at the end.
func (f Family) LoginURL() string { return "https://" + f.authority(f.Login) }

// ManagementURL is "https://management.example.org[:port]", without a slash at the end.
func (f Family) ManagementURL() string { return "https://" + f.authority(f.Management) }

// GraphURL is "https://graph.example.org[:port]", without a slash at the end.
func (f Family) GraphURL() string { return "https://" + f.authority(f.Graph) }

// VaultURL is "https://<vault>.vault.example.org[:port]", without a slash at the end.
func (f Family) VaultURL(vault string) string {
	return "https://" + f.authority(vault+"."+f.VaultSuffix)
}

// VaultResource is the audience of tokens for the family's vaults: "https://vault.example.org[:port]".
func (f Family) VaultResource() string { return "https://" + f.authority(f.VaultSuffix) }

// IssuerV1 is the issuer of v1 access tokens, fixed per family and never taken from a request.
func (f Family) IssuerV1(tenant string) string {
	if f.STS != "" {
		return "https://" + f.STS + "/" + tenant + "/"
	}
	return f.LoginURL() + "/" + tenant + "/"
}

// IssuerV2 is the issuer of v2 tokens and of the v2 OpenID document.
func (f Family) IssuerV2(tenant string) string { return f.LoginURL() + "/" + tenant + "/v2.0" }

// Check says what is wrong with a family, or nil.
func (f Family) Check() error {
	for _, h := range []struct{ key, value string }{
		{"vault_suffix", f.VaultSuffix},
		{"login_host", f.Login},
		{"management_host", f.Management},
		{"graph_host", f.Graph},
	} {
		if !isHostName(h.value) {
			return fmt.Errorf("%s %q: want a lower-case host name of two labels or more", h.key, h.value)
		}
	}
	if !strings.HasPrefix(f.VaultSuffix, "vault.") {
		return fmt.Errorf("vault_suffix %q: want a name that begins with \"vault.\", as clients demand", f.VaultSuffix)
	}
	// MSAL Go finds the device endpoint by replacing every "token" in the token endpoint.
	if strings.Contains(f.Login, "token") {
		return fmt.Errorf("login_host %q: want a name without the word \"token\", which MSAL replaces", f.Login)
	}
	if f.Port < 1 || f.Port > 65535 {
		return fmt.Errorf("port %d: want 1 to 65535", f.Port)
	}
	return nil
}

// isHostName says whether s is a name as configuration may have it: two labels or more, each of 1 to 63
// lower-case letters, digits and hyphens, without a hyphen at either end (RFC 1123, 2.1).
func isHostName(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if len(l) < 1 || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return len(labels) > 1
}

// VaultHost is the host of a vault of the family, for work that does not come by a wire.
func (f Family) VaultHost(vault string) Host {
	suffix := f.authority(f.VaultSuffix)
	return Host{Family: f, Face: Vault, Vault: vault, Suffix: suffix, Text: vault + "." + suffix}
}

// ManagementHost is the family's management host, for work that does not come by a wire.
func (f Family) ManagementHost() Host {
	return Host{Family: f, Face: Management, Text: f.authority(f.Management)}
}

// LoginHost is the family's login host, for work that does not come by a wire.
func (f Family) LoginHost() Host {
	return Host{Family: f, Face: Login, Text: f.authority(f.Login)}
}

// GraphHost is the family's graph host, for work that does not come by a wire.
func (f Family) GraphHost() Host {
	return Host{Family: f, Face: Graph, Text: f.authority(f.Graph)}
}
