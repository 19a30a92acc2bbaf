package login

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// Paths of the two forms.
const (
	appServicePath = "/msi/token"
	imdsPath       = "/metadata/identity/oauth2/token"
)

// managedFace is the managed identity endpoint. It is served over plain http on loopback only.
type managedFace struct{ face }

// NewManaged declares the operations of the managed identity endpoint.
func NewManaged(o Options) *operation.Table {
	f := &managedFace{face{Options: o}}
	f.table = &operation.Table{Face: f}
	operation.Handle(f.table, operation.Op{
		Name: "ManagedIdentityTokenAppService", Method: "GET", Path: appServicePath, Access: operation.Anonymous,
		Summary: "Get a token of a run's identity (App Service form); the header X-IDENTITY-HEADER has the run's secret.",
	}, f.appServiceToken)
	operation.Handle(f.table, operation.Op{
		Name: "ManagedIdentityToken", Method: "GET", Path: imdsPath, Access: operation.Anonymous,
		Summary: "Get a token of a managed identity (IMDS form), for processes of the server's own user.",
	}, f.imdsToken)
	return f.table
}

func (f *managedFace) Name() string { return "identity" }

// BadToken is reached only where no operation was found. A wrong path is 401, as in the service; a
// wrong method is one of the wrong requests, which are 400.
func (f *managedFace) BadToken(c *operation.Call, _ *identity.TokenError) *apierr.Error {
	if allow := f.methods(c.Path()); len(allow) > 0 {
		return apierr.BadRequest("invalid_request", "The method is not allowed here; want %s.", strings.Join(allow, ", "))
	}
	return apierr.Unauthenticated("unknown_source", "There is no such endpoint; want GET %s or %s.", appServicePath, imdsPath)
}

func (f *managedFace) Headers(_ *operation.Call, h http.Header) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	noStore(h)
}

// An IMDSError is the refusal of the IMDS form.
type IMDSError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// An AppServiceError is the refusal of the App Service form.
type AppServiceError struct {
	StatusCode    int    `json:"statusCode"`
	Message       string `json:"message"`
	CorrelationID string `json:"correlationId"`
}

// Refuse never answers with 404, 410, 429 or 5xx, which clients repeat for a minute and more;
// only when storage is out of reach, or too many come, is that what they should do. Everything else is 400.
func (f *managedFace) Refuse(c *operation.Call, e *apierr.Error, _ http.Header) (int, any) {
	status := http.StatusBadRequest
	switch e.Kind {
	case apierr.UnauthenticatedKind:
		status = http.StatusUnauthorized
	case apierr.UnavailableKind:
		status = http.StatusServiceUnavailable
	case apierr.TooManyKind:
		status = http.StatusTooManyRequests
	}
	if strings.HasPrefix(strings.ToLower(c.Path()), appServicePath) {
		return status, AppServiceError{status, e.Message, c.RequestID}
	}
	code := e.Code
	if code == "BadParameter" { // the pipeline's word for a query that it cannot read
		code = "invalid_request"
	}
	return status, IMDSError{code, e.Message}
}

// An AppServiceAnswer is a token in the App Service form; the number is a string.
type AppServiceAnswer struct {
	AccessToken envelope.Revealed `json:"access_token"`
	ExpiresOn   string            `json:"expires_on"` // whole seconds since 1970
	Resource    string            `json:"resource"`
	TokenType   string            `json:"token_type"`
	ClientID    string            `json:"client_id"`
}

// An IMDSAnswer is a token in the IMDS form; all numbers are strings.
type IMDSAnswer struct {
	AccessToken  envelope.Revealed `json:"access_token"`
	ClientID     string            `json:"client_id"`
	ExpiresIn    string            `json:"expires_in"`
	ExpiresOn    string            `json:"expires_on"`
	ExtExpiresIn string            `json:"ext_expires_in"`
	NotBefore    string            `json:"not_before"`
	Resource     string            `json:"resource"`
	TokenType    string            `json:"token_type"`
	RefreshToken string            `json:"refresh_token"` // always empty
}

func (f *managedFace) appServiceToken(ctx context.Context, c *operation.Call, _ operation.None) (AppServiceAnswer, error) {
	run := c.Peer().Run
	hash := sha256.Sum256([]byte(c.Header("X-IDENTITY-HEADER")))
	if run == nil || subtle.ConstantTimeCompare(run.Secret[:], hash[:]) != 1 {
		return AppServiceAnswer{}, apierr.Unauthenticated("unauthorized_client", "The header X-IDENTITY-HEADER is missing, or is not that of this run.")
	}
	i, err := f.managedToken(ctx, c, func(tx *db.Tx) (identity.Principal, error) { return f.runIdentity(tx, run) })
	if err != nil {
		return AppServiceAnswer{}, err
	}
	return AppServiceAnswer{
		AccessToken: i.token.ForAnswer(), ExpiresOn: unixText(i.expires), Resource: i.resource,
		TokenType: "Bearer", ClientID: i.clientID,
	}, nil
}

// runIdentity is the identity of a run, if it is still there.
func (f *managedFace) runIdentity(tx *db.Tx, run *operation.Run) (identity.Principal, error) {
	if run.ObjectID == "" { // it signs in by itself
		return identity.Principal{}, errNoIdentity
	}
	p, err := f.Store.Principal(tx, run.ObjectID)
	if refusal, gone := apierr.As(err); gone && refusal.Kind == apierr.NotFoundKind {
		return p, errNoIdentity
	}
	return p, err
}

func (f *managedFace) imdsToken(ctx context.Context, c *operation.Call, _ operation.None) (IMDSAnswer, error) {
	if err := f.admitIMDS(c); err != nil {
		return IMDSAnswer{}, err
	}
	i, err := f.managedToken(ctx, c, func(tx *db.Tx) (identity.Principal, error) {
		if run := c.Peer().Run; run != nil {
			return f.runIdentity(tx, run)
		}
		return f.selectIdentity(tx, c)
	})
	if err != nil {
		return IMDSAnswer{}, err
	}
	seconds := strconv.FormatInt(i.seconds(), 10)
	return IMDSAnswer{
		AccessToken: i.token.ForAnswer(), ClientID: i.clientID, ExpiresIn: seconds, ExpiresOn: unixText(i.expires),
		ExtExpiresIn: seconds, NotBefore: unixText(i.at), Resource: i.resource, TokenType: "Bearer",
	}, nil
}

// admitIMDS lets in only processes of the server's own user, and nothing that a browser or a
// proxy could have been talked into sending. Clients probe without the header and take any
// answer as a sign of life, so that comes first.
func (f *managedFace) admitIMDS(c *operation.Call) error {
	if c.Header("Metadata") != "true" {
		return apierr.BadRequest("bad_request_102", "Required metadata header not specified")
	}
	if c.Header("X-Forwarded-For") != "" {
		return apierr.BadRequest("invalid_request", "The request came through a proxy (X-Forwarded-For), which is not allowed here.")
	}
	if !isOwnName(c.Host) {
		return apierr.BadRequest("invalid_request", "The Host header is neither a loopback address nor 169.254.169.254.")
	}
	if c.Peer().Run != nil {
		return nil // its proxy answers to the server's own user alone
	}
	uid, known := 0, false
	if lookUp := c.Peer().UID; lookUp != nil {
		uid, known = lookUp()
	}
	if !known {
		return apierr.BadRequest("invalid_request", "This form is off here: the system does not tell which user asks. Use the App Service form, as under \"strongroom run\".")
	}
	if uid != f.UID {
		return apierr.BadRequest("invalid_request", "This form answers only to processes of the user who runs the server.")
	}
	return nil
}

// isOwnName says whether the Host header is one that a web page cannot have: a page whose name was
// made to point at loopback (DNS rebinding) sends that name.
func isOwnName(h resource.Host) bool {
	name, _, err := net.SplitHostPort(h.Text)
	if err != nil {
		name = h.Text
	}
	if strings.EqualFold(name, "localhost") || strings.EqualFold(name, h.Family.Login) {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && (addr.Unmap().IsLoopback() || addr == netip.AddrFrom4([4]byte{169, 254, 169, 254}))
}

// managedToken issues a token for the resource of the query to the identity that find finds. If
// the query names an identity too, it must be that one: never another identity's token.
func (f *managedFace) managedToken(ctx context.Context, c *operation.Call, find func(*db.Tx) (identity.Principal, error)) (issued, error) {
	if _, err := operation.ParseVersion(c.Query.Get("api-version")); err != nil {
		return issued{}, apierr.BadRequest("invalid_request", "The query parameter api-version is missing or no version; want for example 2018-02-01, or 2019-08-01 in the App Service form.")
	}
	if len(c.Query["resource"]) != 1 || c.Query.Get("resource") == "" {
		return issued{}, apierr.BadRequest("invalid_request", "The query parameter resource is missing or stands more than once.")
	}
	wanted := c.Query.Get("resource")
	var out issued
	err := c.View(ctx, func(tx *db.Tx) error {
		p, err := find(tx)
		if err != nil {
			return err
		}
		if !p.Enabled || !matches(c, p) {
			return errNoIdentity
		}
		if _, _, ok := identity.ResourceFamily(c.Families(), wanted, c.Host.Family); !ok {
			return apierr.BadRequest("invalid_resource", "AADSTS50001: The application named %q was not found in the tenant named %s. This service issues tokens for its own vaults, management and Graph hosts.", wanted, f.Tenant)
		}
		out, err = f.issue(tx, c, wanted, identity.Grant{Principal: p, Method: identity.AsManaged})
		return err
	})
	return out, err
}

// selectors are the query parameters that name an identity, by what they are compared with.
var selectors = []struct {
	names []string
	of    func(identity.Principal) string
}{
	{[]string{"client_id", "clientid"}, func(p identity.Principal) string { return p.AppID }},
	{[]string{"object_id", "principal_id"}, func(p identity.Principal) string { return p.ObjectID }},
	{[]string{"msi_res_id", "mi_res_id"}, func(p identity.Principal) string { return p.ResourceID }},
}

// matches says whether the identity is the one of every selector in the query.
func matches(c *operation.Call, p identity.Principal) bool {
	for _, s := range selectors {
		for _, name := range s.names {
			for _, asked := range c.Query[name] {
				if asked != "" && !strings.EqualFold(asked, s.of(p)) {
					return false
				}
			}
		}
	}
	return true
}

// hasSelector says whether the query names an identity.
func hasSelector(c *operation.Call) bool {
	for _, s := range selectors {
		for _, name := range s.names {
			if c.Query.Get(name) != "" {
				return true
			}
		}
	}
	return false
}

// selectIdentity finds the managed identity of the query, or the default one.
func (f *managedFace) selectIdentity(tx *db.Tx, c *operation.Call) (identity.Principal, error) {
	if !hasSelector(c) {
		return f.defaultIdentity(tx)
	}
	all, err := f.Store.ListManagedIdentities(tx, "")
	if err != nil {
		return identity.Principal{}, err
	}
	for _, p := range all {
		if matches(c, p) {
			return p, nil
		}
	}
	return identity.Principal{}, errNoIdentity
}
