package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spf13/pflag"
)

const signInHint = "set STRONGROOM_TENANT_ID, STRONGROOM_CLIENT_ID and STRONGROOM_CLIENT_SECRET_FILE, or run where IDENTITY_ENDPOINT and IDENTITY_HEADER are set"

// otherVariables are those of ours that are no settings of a server.
var otherVariables = []string{
	"STRONGROOM_SERVER", "STRONGROOM_CA", "STRONGROOM_TENANT_ID", "STRONGROOM_CLIENT_ID", "STRONGROOM_CLIENT_SECRET_FILE",
}

// connectionFlags are those of every command that asks a server.
func connectionFlags(f *pflag.FlagSet) {
	f.String("server", "", "the management URL of a server elsewhere (STRONGROOM_SERVER), signed in by STRONGROOM_TENANT_ID,\n"+
		"STRONGROOM_CLIENT_ID, STRONGROOM_CLIENT_SECRET_FILE or by IDENTITY_ENDPOINT, IDENTITY_HEADER")
	f.String("ca", "", "a PEM file with the authority to trust for --server, beside the system's (STRONGROOM_CA)")
	socketFlags(f)
	outputFlag(f)
}

// client connects to the server that flags and environment name, once for each run.
func (c *call) client() (*client, error) {
	if c.connection != nil {
		return c.connection, nil
	}
	var err error
	if address := c.either("server", "STRONGROOM_SERVER"); address != "" && !c.given("socket") && !c.given("data-dir") {
		c.connection, err = c.overHTTPS(address)
	} else {
		c.connection, err = c.overSocket()
	}
	return c.connection, err
}

// either is the value of a flag, or else of a variable.
func (c *call) either(flag, variable string) string {
	if value := c.text(flag); value != "" {
		return value
	}
	return c.env(variable)
}

// overHTTPS makes a client for a server elsewhere and learns its hosts. Signing in waits until a
// token is needed.
func (c *call) overHTTPS(address string) (*client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, usage("", "--server %q: want https:// and the management host", address)
	}
	roots, err := trusted(c.either("ca", "STRONGROOM_CA"))
	if err != nil {
		return nil, err
	}
	cl := &client{scheme: "https", http: newHTTPClient(&http.Transport{
		Proxy: proxyFor, DialContext: dialLocalhost,
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
	})}
	if err := cl.learn(c.ctx, u.Host); err != nil {
		return nil, err
	}
	cl.token = c.signIn(cl)
	return cl, nil
}

// isLocalName knows the names that never leave this machine (RFC 6761, 6.3). Not every system
// resolves those below "localhost", which a server of "dev" has.
func isLocalName(host string) bool {
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func proxyFor(r *http.Request) (*url.URL, error) {
	if isLocalName(r.URL.Hostname()) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

func dialLocalhost(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && isLocalName(host) {
		address = net.JoinHostPort("localhost", port)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// trusted are the system's authorities and those of the file. Nil means the system's.
func trusted(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the authority to trust: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read the authority to trust: %s holds no certificate in PEM", file)
	}
	return roots, nil
}

// learn reads the hosts from the metadata document that az and Terraform read, too.
func (cl *client) learn(ctx context.Context, management string) error {
	var doc struct {
		Authentication struct {
			LoginEndpoint string `json:"loginEndpoint"`
		} `json:"authentication"`
		Suffixes struct {
			KeyVaultDNS string `json:"keyVaultDns"`
		} `json:"suffixes"`
		Graph string `json:"microsoftGraphResourceId"`
	}
	if err := cl.get(ctx, place{host: management}, "/metadata/endpoints?api-version=2022-09-01", &doc); err != nil {
		return err
	}
	cl.ManagementHost = management
	cl.VaultSuffix = strings.TrimPrefix(doc.Suffixes.KeyVaultDNS, ".")
	if _, port, err := net.SplitHostPort(management); err == nil && !strings.Contains(cl.VaultSuffix, ":") {
		cl.VaultSuffix = net.JoinHostPort(cl.VaultSuffix, port)
	}
	for _, link := range []struct {
		text string
		host *string
	}{{doc.Authentication.LoginEndpoint, &cl.LoginHost}, {doc.Graph, &cl.GraphHost}} {
		u, err := url.Parse(link.text)
		if err != nil || u.Scheme != "https" || u.Host == "" || doc.Suffixes.KeyVaultDNS == "" {
			return errors.New("the server's metadata document lacks an endpoint; is it Strongroom?")
		}
		*link.host = u.Host
	}
	return nil
}

// signIn returns the function that gets tokens, each resource's once.
func (c *call) signIn(cl *client) func(context.Context, string) (string, error) {
	known := map[string]string{}
	return func(ctx context.Context, resource string) (token string, err error) {
		if token = known[resource]; token != "" {
			return token, nil
		}
		switch {
		case c.env("STRONGROOM_CLIENT_ID") != "":
			token, err = c.clientCredentials(ctx, cl, resource)
		case c.env("IDENTITY_ENDPOINT") != "" && c.env("IDENTITY_HEADER") != "":
			token, err = c.managedIdentity(ctx, resource)
		default:
			return "", failed(signInHint, "no identity to sign in with")
		}
		if err != nil {
			return "", fmt.Errorf("sign in: %w", err)
		}
		known[resource] = token
		return token, nil
	}
}

// clientCredentials signs in as an application by its secret.
func (c *call) clientCredentials(ctx context.Context, cl *client, resource string) (string, error) {
	tenant, file := c.env("STRONGROOM_TENANT_ID"), c.env("STRONGROOM_CLIENT_SECRET_FILE")
	if tenant == "" || file == "" {
		return "", failed(signInHint, "STRONGROOM_CLIENT_ID is set, STRONGROOM_TENANT_ID or STRONGROOM_CLIENT_SECRET_FILE is not")
	}
	secret, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.env("STRONGROOM_CLIENT_ID")},
		"client_secret": {strings.TrimRight(string(secret), "\r\n")}, "scope": {resource + "/.default"},
	}
	address := "https://" + cl.LoginHost + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return fetchToken(cl.http, req)
}

// managedIdentity asks the endpoint that the surroundings name, as in Azure's App Service.
func (c *call) managedIdentity(ctx context.Context, resource string) (string, error) {
	u, err := url.Parse(c.env("IDENTITY_ENDPOINT"))
	if err != nil || u.Host == "" || (u.Scheme != "https" && !isLoopback(u.Hostname())) {
		return "", errors.New("IDENTITY_ENDPOINT: want a URL on loopback, or https")
	}
	query := u.Query()
	query.Set("api-version", "2019-08-01")
	query.Set("resource", resource)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-IDENTITY-HEADER", c.env("IDENTITY_HEADER"))
	return fetchToken(newHTTPClient(&http.Transport{}), req) // no proxy: the header is a secret
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func fetchToken(h *http.Client, req *http.Request) (string, error) {
	v, err := send(h, req)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if json.Unmarshal(v, &answer) != nil || answer.Token == "" || strings.ContainsFunc(answer.Token, notInToken) {
		return "", errNotJSON
	}
	return answer.Token, nil
}

// notInToken finds what must not come into a header.
func notInToken(r rune) bool { return r <= ' ' || r > '~' }
