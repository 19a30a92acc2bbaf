package login

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

func (f *face) declareTokens(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "TokenIssue", Method: "POST", Path: "/{tenant}/oauth2/v2.0/token", Access: operation.Anonymous,
		Summary: "Sign a program in by its secret or certificate; scope names the resource.",
	}, f.tokenV2)
	operation.Handle(t, operation.Op{
		Name: "TokenIssueV1", Method: "POST", Path: "/{tenant}/oauth2/token", Access: operation.Anonymous,
		Summary: "Sign a program in by its secret or certificate; resource names the resource.",
	}, f.tokenV1)
	operation.Handle(t, operation.Op{
		Name: "TokenIssueADFS", Method: "POST", Path: "/adfs/oauth2/token", Access: operation.Anonymous,
		Summary: "Sign a program in, for clients whose tenant is set to adfs.",
	}, f.tokenADFS)
}

// A TokenAnswer is the answer of the v2 and adfs endpoints.
type TokenAnswer struct {
	TokenType    string            `json:"token_type"`
	ExpiresIn    int64             `json:"expires_in"` // whole seconds
	ExtExpiresIn int64             `json:"ext_expires_in"`
	AccessToken  envelope.Revealed `json:"access_token"`
}

// A TokenAnswerV1 is the answer of the v1 endpoint, whose numbers are strings.
type TokenAnswerV1 struct {
	TokenType    string            `json:"token_type"`
	ExpiresIn    string            `json:"expires_in"` // whole seconds
	ExtExpiresIn string            `json:"ext_expires_in"`
	ExpiresOn    string            `json:"expires_on"` // whole seconds since 1970
	NotBefore    string            `json:"not_before"`
	Resource     string            `json:"resource"`
	AccessToken  envelope.Revealed `json:"access_token"`
}

func (f *face) tokenV2(ctx context.Context, c *operation.Call, form operation.Form) (TokenAnswer, error) {
	i, err := f.signIn(ctx, c, c.Param("tenant"), form, scopeResource)
	return newTokenAnswer(i), err
}

func (f *face) tokenADFS(ctx context.Context, c *operation.Call, form operation.Form) (TokenAnswer, error) {
	asked := scopeResource
	if form.Get("resource") != "" {
		asked = namedResource
	}
	i, err := f.signIn(ctx, c, adfsTenant, form, asked)
	return newTokenAnswer(i), err
}

func (f *face) tokenV1(ctx context.Context, c *operation.Call, form operation.Form) (TokenAnswerV1, error) {
	i, err := f.signIn(ctx, c, c.Param("tenant"), form, namedResource)
	if err != nil {
		return TokenAnswerV1{}, err
	}
	return newTokenAnswerV1(i), nil
}

func newTokenAnswer(i issued) TokenAnswer {
	return TokenAnswer{TokenType: "Bearer", ExpiresIn: i.seconds(), ExtExpiresIn: i.seconds(), AccessToken: i.token.ForAnswer()}
}

func newTokenAnswerV1(i issued) TokenAnswerV1 {
	seconds := strconv.FormatInt(i.seconds(), 10)
	return TokenAnswerV1{
		TokenType: "Bearer", ExpiresIn: seconds, ExtExpiresIn: seconds,
		ExpiresOn: unixText(i.expires), NotBefore: unixText(i.at), Resource: i.resource, AccessToken: i.token.ForAnswer(),
	}
}

func unixText(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// issued is a new token with what answers say of it.
type issued struct {
	token    envelope.Value
	resource string // as it was asked for
	clientID string
	at       time.Time
	expires  time.Time
}

func (i issued) seconds() int64 { return int64(i.expires.Sub(i.at) / time.Second) }

// signIn checks a token request and issues the token. The caller is named only after the
// credential held: until then the request is a stranger's and is counted.
func (f *face) signIn(ctx context.Context, c *operation.Call, tenant string, form operation.Form,
	asked func(operation.Form) (string, error),
) (issued, error) {
	if isShared(tenant) && !c.Host.Family.InRun {
		return issued{}, identity.NewSignInError(identity.CodeNoTenant)
	}
	if !f.isHome(c.Host.Family, tenant) {
		return issued{}, unknownTenant(tenant)
	}
	if err := checkForm(form); err != nil {
		return issued{}, err
	}
	who, err := readClient(c.Header("Authorization"), form)
	if err != nil {
		return issued{}, err
	}
	wanted, err := asked(form)
	if err != nil {
		return issued{}, err
	}
	var out issued
	err = c.View(ctx, func(tx *db.Tx) error {
		p, credential, method, err := f.authenticate(tx, c, who)
		if err != nil {
			return err
		}
		out, err = f.issue(tx, c, wanted, identity.Grant{Principal: p, CredentialID: credential, Method: method})
		return err
	})
	return out, err
}

// issue makes the token of a grant for a resource, and names its owner as the caller.
func (f *face) issue(tx *db.Tx, c *operation.Call, wanted string, g identity.Grant) (issued, error) {
	audience, family, ok := identity.ResourceFamily(c.Families(), wanted, c.Host.Family)
	if !ok {
		return issued{}, identity.NewSignInError(identity.CodeUnknownResource, wanted, f.Tenant)
	}
	g.Audience, g.Family, g.TokenID = audience, family, identity.NewTokenID()
	token, expires, err := f.Issuer.Issue(tx, g)
	if err != nil {
		return issued{}, err
	}
	c.SignedIn(identity.Caller{
		ObjectID: g.Principal.ObjectID, AppID: g.Principal.AppID, TenantID: f.Tenant, Issuer: family.IssuerV1(f.Tenant),
		Name: g.Principal.Name, Kind: g.Principal.Kind, CredentialID: g.CredentialID, TokenID: g.TokenID,
		Expires: expires, Audience: audience,
	})
	return issued{token: token, resource: wanted, clientID: g.Principal.AppID, at: tx.Now, expires: expires}, nil
}

// formFields are the fields that decide; each may stand once (RFC 6749, 3.2). All others are
// passed over: clients send telemetry, claims, and scopes of flows that do not concern them.
var formFields = []string{
	"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope", "resource",
}

// checkForm refuses what no credential could mend.
func checkForm(form operation.Form) error {
	for _, name := range formFields {
		if len(form[name]) > 1 {
			return identity.NewSignInError(identity.CodeAmbiguousCredentials, "the parameter '"+name+"' stands more than once")
		}
	}
	switch grant := form.Get("grant_type"); grant {
	case "client_credentials":
		return nil
	case "":
		return missing("grant_type")
	default:
		return identity.NewSignInError(identity.CodeUnsupportedGrant, grant)
	}
}

// ignoredScopes are OpenID's, which client libraries add to every request.
var ignoredScopes = []string{"openid", "offline_access", "profile", "email"}

// scopeResource reads the resource of a v2 scope: exactly one, with one "/.default" taken off, so
// that a resource that ends in a slash keeps it.
func scopeResource(form operation.Form) (string, error) {
	text := form.Get("scope")
	if text == "" {
		return "", missing("scope")
	}
	scopes := slices.DeleteFunc(strings.Fields(text), func(s string) bool { return slices.Contains(ignoredScopes, s) })
	if len(scopes) != 1 {
		return "", identity.NewSignInError(identity.CodeInvalidScope, text)
	}
	name, ok := strings.CutSuffix(scopes[0], "/.default")
	if !ok || name == "" {
		return "", identity.NewSignInError(identity.CodeNoDefaultScope, scopes[0])
	}
	return name, nil
}

// namedResource reads the resource of a v1 request.
func namedResource(form operation.Form) (string, error) {
	if name := form.Get("resource"); name != "" {
		return name, nil
	}
	return "", missing("resource")
}

// assertionAudiences are the audiences that a client assertion may have: the token endpoints and
// issuers of this tenant, also as the caller names it, by the host that the caller used and by the
// family's own.
func (f *face) assertionAudiences(h resource.Host, tenant string) []string {
	var out []string
	for _, host := range []string{endpointURL(h), "https://" + h.Text, h.Family.LoginURL(), "https://" + h.Family.Login} {
		for _, tenant := range []string{f.Tenant, adfsTenant, tenant} {
			for _, path := range []string{"/oauth2/v2.0/token", "/oauth2/token", "/v2.0", "/", ""} {
				out = append(out, host+"/"+tenant+path)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
