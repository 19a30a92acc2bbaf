package login

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// documentMembers are those of the service's own documents.
var documentMembers = []string{
	"token_endpoint", "token_endpoint_auth_methods_supported", "jwks_uri", "response_modes_supported", "subject_types_supported",
	"id_token_signing_alg_values_supported", "response_types_supported", "scopes_supported", "issuer",
	"request_uri_parameter_supported", "userinfo_endpoint", "authorization_endpoint", "device_authorization_endpoint",
	"http_logout_supported", "frontchannel_logout_supported", "end_session_endpoint", "claims_supported", "kerberos_endpoint",
	"tenant_region_scope", "cloud_instance_name", "cloud_graph_host_name", "msgraph_host", "rbac_url",
}

func TestOpenIDDocuments(t *testing.T) {
	b := newBench(t)
	const v2, v1 = "/v2.0/.well-known/openid-configuration", "/.well-known/openid-configuration"
	for _, tt := range []struct{ host, path, issuer, token, keys string }{
		{
			"login.localhost:8443", "/" + testTenant + v2, "https://login.localhost:8443/" + testTenant + "/v2.0",
			"https://login.localhost:8443/" + testTenant + "/oauth2/v2.0/token", "https://login.localhost:8443/" + testTenant + "/discovery/v2.0/keys",
		},
		{ // a forwarded port shows in endpoints, never in the issuer
			"LOGIN.localhost:9443", "/" + strings.ToUpper(testTenant) + v2 + "/", "https://login.localhost:8443/" + testTenant + "/v2.0",
			"https://login.localhost:9443/" + testTenant + "/oauth2/v2.0/token", "https://login.localhost:9443/" + testTenant + "/discovery/v2.0/keys",
		},
		{ // the regional form
			"westeurope.login.strongroom.internal", "/" + testTenant + v2, "https://login.strongroom.internal/" + testTenant + "/v2.0",
			"https://login.strongroom.internal/" + testTenant + "/oauth2/v2.0/token", "https://login.strongroom.internal/" + testTenant + "/discovery/v2.0/keys",
		},
		{
			"login.localhost:8443", "/common" + v2, "https://login.localhost:8443/{tenantid}/v2.0",
			"https://login.localhost:8443/common/oauth2/v2.0/token", "https://login.localhost:8443/common/discovery/v2.0/keys",
		},
		{
			"login.localhost:8443", "/organizations" + v2, "https://login.localhost:8443/{tenantid}/v2.0",
			"https://login.localhost:8443/organizations/oauth2/v2.0/token", "https://login.localhost:8443/organizations/discovery/v2.0/keys",
		},
		{
			"login.localhost:8443", "/" + testTenant + v1, "https://login.localhost:8443/" + testTenant + "/",
			"https://login.localhost:8443/" + testTenant + "/oauth2/token", "https://login.localhost:8443/" + testTenant + "/discovery/keys",
		},
		{
			"login.localhost:8443", "/adfs" + v1, "https://login.localhost:8443/" + testTenant + "/",
			"https://login.localhost:8443/adfs/oauth2/token", "https://login.localhost:8443/adfs/discovery/keys",
		},
	} {
		got := b.do(b.login, ask{method: "GET", host: tt.host, path: tt.path})
		if got.status != http.StatusOK {
			t.Errorf("GET %s%s = %d %s, want 200", tt.host, tt.path, got.status, got.raw)
			continue
		}
		for _, member := range documentMembers {
			if v, ok := got.body[member]; !ok || v == "" {
				t.Errorf("GET %s%s: member %s is missing", tt.host, tt.path, member)
			}
		}
		for member, want := range map[string]string{"issuer": tt.issuer, "token_endpoint": tt.token, "jwks_uri": tt.keys} {
			if got.text(member) != want {
				t.Errorf("GET %s%s: %s = %q, want %q", tt.host, tt.path, member, got.text(member), want)
			}
		}
		if got := got.header.Get("Cache-Control"); got != "max-age=86400, private" {
			t.Errorf("GET %s%s: Cache-Control = %q, want max-age=86400, private", tt.host, tt.path, got)
		}
		// Python takes the tenant from the path of the token endpoint; every keys URL must answer.
		u, err := url.Parse(tt.keys)
		if err != nil {
			t.Fatal(err)
		}
		if keys := b.do(b.login, ask{method: "GET", host: u.Host, path: u.Path}); keys.status != http.StatusOK {
			t.Errorf("GET %s = %d, want 200", tt.keys, keys.status)
		}
	}
}

func TestUnknownTenantOfDocument(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{
		"/" + otherGUID + "/v2.0/.well-known/openid-configuration", "/x/.well-known/openid-configuration", "/consumers/discovery/keys",
	} {
		got := b.do(b.login, ask{method: "GET", host: "login.localhost:8443", path: path})
		if got.status != http.StatusBadRequest || !strings.HasPrefix(got.text("error_description"), "AADSTS90002: ") {
			t.Errorf("GET %s = %d %s, want 400 AADSTS90002", path, got.status, got.raw)
		}
		if got := got.header.Get("Cache-Control"); got != "no-store, no-cache" {
			t.Errorf("GET %s: Cache-Control = %q, want no-store, no-cache", path, got)
		}
	}
}

func TestInstanceDiscovery(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		endpoint, want string // want: the discovery endpoint, or the error's word
		aliases        []string
	}{
		{
			endpoint: "https://login.localhost:8443/" + testTenant + "/oauth2/v2.0/authorize",
			want:     "https://login.localhost:8443/" + testTenant + "/v2.0/.well-known/openid-configuration",
			aliases:  []string{"login.localhost:8443", "login.localhost"},
		},
		{
			endpoint: "https://Login.strongroom.internal/common/oauth2/v2.0/authorize",
			want:     "https://login.strongroom.internal/common/v2.0/.well-known/openid-configuration",
			aliases:  []string{"login.strongroom.internal"},
		},
		{endpoint: "https://login.microsoftonline.com/" + testTenant + "/oauth2/v2.0/authorize", want: "invalid_instance"},
		{endpoint: "https://dev.vault.localhost:8443/" + testTenant + "/oauth2/v2.0/authorize", want: "invalid_instance"},
		{endpoint: "http://login.localhost:8443/" + testTenant + "/oauth2/v2.0/authorize", want: "invalid_instance"},
		{endpoint: "https://login.localhost:8443/" + otherGUID + "/oauth2/v2.0/authorize", want: "invalid_request"},
		{endpoint: "", want: "invalid_request"},
	} {
		got := b.do(b.login, ask{
			method: "GET", host: "login.localhost:8443", path: "/common/discovery/instance",
			query: "api%2Dversion=1.1&authorization_endpoint=" + url.QueryEscape(tt.endpoint),
		})
		if found := got.text("tenant_discovery_endpoint") + got.text("error"); found != tt.want {
			t.Errorf("instance discovery of %q = %d %q, want %q", tt.endpoint, got.status, found, tt.want)
		}
		if tt.aliases == nil {
			if got.status != http.StatusBadRequest {
				t.Errorf("instance discovery of %q = %d, want 400", tt.endpoint, got.status)
			}
			continue
		}
		metadata, _ := got.body["metadata"].([]any)
		var aliases []string
		for _, a := range metadata[0].(map[string]any)["aliases"].([]any) {
			aliases = append(aliases, a.(string))
		}
		if !slices.Equal(aliases, tt.aliases) || got.text("api-version") != "1.1" {
			t.Errorf("instance discovery of %q: aliases %q, version %q, want %q, 1.1", tt.endpoint, aliases, got.text("api-version"), tt.aliases)
		}
	}
}
