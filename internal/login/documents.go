package login

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

func (f *face) declareDocuments(t *operation.Table) {
	public := func(name, path, summary string) operation.Op {
		return operation.Op{
			Name: name, Method: "GET", Path: path, Access: operation.Anonymous, Audit: operation.Counted, Summary: summary,
		}
	}
	operation.Handle(t, public("InstanceDiscovery", "/common/discovery/instance",
		"Say whether a login host is one of this service."), f.discoverInstance)
	operation.Handle(t, public("OpenIDConfiguration", "/{tenant}/v2.0/.well-known/openid-configuration",
		"Get the OpenID document of the v2 endpoints."), f.documentV2)
	operation.Handle(t, public("OpenIDConfigurationV1", "/{tenant}/.well-known/openid-configuration",
		"Get the OpenID document of the v1 endpoints; tenant adfs has the endpoints of that form."), f.documentV1)
	operation.Handle(t, public("SigningKeys", "/{tenant}/discovery/v2.0/keys",
		"Get the public keys of tokens."), f.keys)
	operation.Handle(t, public("SigningKeysV1", "/{tenant}/discovery/keys",
		"Get the public keys of tokens, where v1 clients look for them."), f.keys)
}

// An InstanceAnswer tells clients that the authority they were given is a genuine one.
type InstanceAnswer struct {
	TenantDiscoveryEndpoint string             `json:"tenant_discovery_endpoint"`
	APIVersion              string             `json:"api-version"`
	Metadata                []InstanceMetadata `json:"metadata"`
}

// InstanceMetadata is one cloud: hosts that share tokens in a client's cache.
type InstanceMetadata struct {
	PreferredNetwork string   `json:"preferred_network"`
	PreferredCache   string   `json:"preferred_cache"`
	Aliases          []string `json:"aliases"`
}

func (f *face) discoverInstance(_ context.Context, c *operation.Call, _ operation.None) (InstanceAnswer, error) {
	text := c.Query.Get("authorization_endpoint")
	if text == "" {
		return InstanceAnswer{}, missing("authorization_endpoint")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" {
		return InstanceAnswer{}, unknownInstance()
	}
	host, ok := c.Families().Resolve(u.Host)
	if !ok || host.Face != resource.Login {
		return InstanceAnswer{}, unknownInstance()
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !f.isHome(host.Family, tenant) && !isShared(tenant) {
		return InstanceAnswer{}, unknownTenant(tenant)
	}
	version := "1.1"
	if c.Query.Get("api-version") == "1.0" {
		version = "1.0"
	}
	asked := strings.ToLower(u.Host)
	aliases := []string{asked}
	if name := strings.ToLower(u.Hostname()); name != asked {
		aliases = append(aliases, name) // some clients rebuild the authority without its port
	}
	for _, name := range append([]string{host.Family.Login}, host.Family.LoginAliases[:]...) {
		if host.Family.InRun && name != "" && !slices.Contains(aliases, name) {
			aliases = append(aliases, name)
		}
	}
	return InstanceAnswer{
		TenantDiscoveryEndpoint: "https://" + asked + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		APIVersion:              version,
		Metadata:                []InstanceMetadata{{PreferredNetwork: asked, PreferredCache: asked, Aliases: aliases}},
	}, nil
}

func unknownInstance() error {
	return identity.NewSignInError(identity.CodeUnknownInstance)
}

// isShared says whether a tenant of a path is a name for "any tenant", which documents exist for.
func isShared(tenant string) bool {
	return strings.EqualFold(tenant, "common") || strings.EqualFold(tenant, "organizations")
}

// An OpenIDDocument has every member that the service's own documents have, in both versions:
// clients differ in what they demand.
type OpenIDDocument struct {
	TokenEndpoint        string   `json:"token_endpoint"`
	TokenAuthMethods     []string `json:"token_endpoint_auth_methods_supported"`
	JWKSURI              string   `json:"jwks_uri"`
	ResponseModes        []string `json:"response_modes_supported"`
	SubjectTypes         []string `json:"subject_types_supported"`
	SigningAlgorithms    []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes        []string `json:"response_types_supported"`
	Scopes               []string `json:"scopes_supported"`
	Issuer               string   `json:"issuer"`
	RequestURIParameter  bool     `json:"request_uri_parameter_supported"`
	UserinfoEndpoint     string   `json:"userinfo_endpoint"`
	AuthorizeEndpoint    string   `json:"authorization_endpoint"`
	DeviceEndpoint       string   `json:"device_authorization_endpoint"`
	HTTPLogout           bool     `json:"http_logout_supported"`
	FrontchannelLogout   bool     `json:"frontchannel_logout_supported"`
	EndSessionEndpoint   string   `json:"end_session_endpoint"`
	Claims               []string `json:"claims_supported"`
	KerberosEndpoint     string   `json:"kerberos_endpoint"`
	TenantRegionScope    string   `json:"tenant_region_scope"`
	CloudInstanceName    string   `json:"cloud_instance_name"`
	CloudGraphHostName   string   `json:"cloud_graph_host_name"`
	MicrosoftGraphHost   string   `json:"msgraph_host"`
	RoleAssignmentsURL   string   `json:"rbac_url"`
	GrantTypes           []string `json:"grant_types_supported"`
	TokenAuthSigningAlgs []string `json:"token_endpoint_auth_signing_alg_values_supported"`
}

// A version names the paths of one generation of endpoints below a tenant.
type version struct{ oauth, keys string }

var (
	versionOne = version{oauth: "/oauth2", keys: "/discovery/keys"}
	versionTwo = version{oauth: "/oauth2/v2.0", keys: "/discovery/v2.0/keys"}
)

func (f *face) documentV1(_ context.Context, c *operation.Call, _ operation.None) (OpenIDDocument, error) {
	return f.document(c, versionOne, resource.Family.IssuerV1)
}

func (f *face) documentV2(_ context.Context, c *operation.Call, _ operation.None) (OpenIDDocument, error) {
	return f.document(c, versionTwo, resource.Family.IssuerV2)
}

func (f *face) document(c *operation.Call, v version, issuer func(resource.Family, string) string) (OpenIDDocument, error) {
	named, inIssuer, err := f.documentTenant(c.Host.Family, c.Param("tenant"))
	if err != nil {
		return OpenIDDocument{}, err
	}
	family, below := c.Host.Family, endpointURL(c.Host)+"/"+named
	return OpenIDDocument{
		TokenEndpoint:        below + v.oauth + "/token",
		TokenAuthMethods:     []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		JWKSURI:              below + v.keys,
		ResponseModes:        []string{"query", "fragment", "form_post"},
		SubjectTypes:         []string{"pairwise"},
		SigningAlgorithms:    []string{"RS256"},
		ResponseTypes:        []string{"code", "id_token", "code id_token", "id_token token"},
		Scopes:               []string{"openid", "profile", "email", "offline_access"},
		Issuer:               issuer(family, inIssuer),
		UserinfoEndpoint:     family.GraphURL() + "/oidc/userinfo",
		AuthorizeEndpoint:    below + v.oauth + "/authorize",
		DeviceEndpoint:       below + v.oauth + "/devicecode",
		HTTPLogout:           true,
		FrontchannelLogout:   true,
		EndSessionEndpoint:   below + v.oauth + "/logout",
		Claims:               claims,
		KerberosEndpoint:     below + "/kerberos",
		TenantRegionScope:    "WW",
		CloudInstanceName:    family.Login,
		CloudGraphHostName:   family.Graph,
		MicrosoftGraphHost:   family.Graph,
		RoleAssignmentsURL:   family.ManagementURL(),
		GrantTypes:           []string{"client_credentials"},
		TokenAuthSigningAlgs: []string{"RS256", "PS256"},
	}, nil
}

var claims = []string{
	"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host", "aud", "exp",
	"iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email",
}

// documentTenant returns the tenant as paths of a document name it, and as its issuer does: the
// shared names have the placeholder that the service's documents have. In a run it is the tenant that
// was asked for: clients compare.
func (f *face) documentTenant(family resource.Family, asked string) (named, inIssuer string, err error) {
	switch {
	case strings.EqualFold(asked, adfsTenant):
		return adfsTenant, f.Tenant, nil
	case strings.EqualFold(asked, f.Tenant):
		return f.Tenant, f.Tenant, nil
	case isShared(asked):
		return strings.ToLower(asked), "{tenantid}", nil
	case f.isHome(family, asked):
		return strings.ToLower(asked), strings.ToLower(asked), nil
	}
	return "", "", unknownTenant(asked)
}

// A KeySet is a JSON Web Key Set (RFC 7517).
type KeySet struct {
	Keys []Key `json:"keys"`
}

// A Key is one public signing key with the issuer whose tokens it verifies.
type Key struct {
	identity.PublicKey
	Issuer string `json:"issuer"`
}

func (f *face) keys(ctx context.Context, c *operation.Call, _ operation.None) (KeySet, error) {
	_, inIssuer, err := f.documentTenant(c.Host.Family, c.Param("tenant"))
	if err != nil {
		return KeySet{}, err
	}
	var keys []identity.PublicKey
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		keys, err = f.Issuer.Keys(tx)
		return err
	})
	if err != nil {
		return KeySet{}, err
	}
	set := KeySet{Keys: make([]Key, len(keys))}
	for i, k := range keys {
		set.Keys[i] = Key{k, c.Host.Family.IssuerV2(inIssuer)}
	}
	return set, nil
}
