package identity

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// A SignInError is a refusal of the token endpoint, in Entra ID's terms. In its chain is an
// *apierr.Error with the code "AADSTSn", from which SignInErrorOf makes it again.
type SignInError struct {
	Status  int    // HTTP
	OAuth   string // RFC 6749's word, the member "error"
	Code    int    // the AADSTS number
	Message string // without the number and the trailer of trace id and time
}

func (e *SignInError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.Code, e.Message) }

// Unwrap returns the refusal that the pipeline understands.
func (e *SignInError) Unwrap() error {
	kind := apierr.BadRequestKind
	if e.Status == http.StatusUnauthorized {
		kind = apierr.UnauthenticatedKind
	}
	return apierr.New(kind, codePrefix+strconv.Itoa(e.Code), "%s", e.Message)
}

const codePrefix = "AADSTS"

// The AADSTS numbers that Strongroom answers with.
const (
	CodeUnknownTenant        = 90002
	CodeMissingParameter     = 900144
	CodeMalformedAssertion   = 50027
	CodeSubjectNotIssuer     = 50048
	CodeUnsupportedGrant     = 70003
	CodeInvalidScope         = 70011
	CodeNoDefaultScope       = 1002012
	CodeUnknownResource      = 500011
	CodeUnknownApplication   = 700016
	CodeAssertionClient      = 700021
	CodeAssertionAudience    = 700023
	CodeAssertionTime        = 700024
	CodeAssertionKey         = 700027
	CodeApplicationDisabled  = 7000112
	CodeWrongSecret          = 7000215
	CodeNoCredential         = 7000218
	CodeExpiredSecret        = 7000222
	CodeNoServicePrincipal   = 7000229
	CodeUnknownInstance      = 50049
	CodeAmbiguousCredentials = 90023
	CodeNoTenant             = 50059
	CodeMalformedRequest     = 9002313
	CodeUnavailable          = 90033
	CodeServerFault          = 50000
	CodeThrottled            = 90055
)

// signInErrors is the one table of statuses, words and texts; Message is a format here. Numbers
// and meanings are documented by Microsoft; pairs of status and word follow observed answers.
var signInErrors = []SignInError{
	{http.StatusBadRequest, "invalid_request", CodeUnknownTenant, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."},
	{http.StatusBadRequest, "invalid_request", CodeMissingParameter, "The request body must contain the following parameter: '%s'."},
	{http.StatusBadRequest, "invalid_instance", CodeUnknownInstance, "Unknown or invalid instance."},
	{http.StatusBadRequest, "invalid_request", CodeAmbiguousCredentials, "The request is ambiguous: %s."},
	{http.StatusBadRequest, "invalid_request", CodeNoTenant, "No tenant-identifying information found in either the request or implied by any provided credentials."},
	{http.StatusBadRequest, "invalid_request", CodeMalformedRequest, "Invalid request. %s"},
	{http.StatusServiceUnavailable, "temporarily_unavailable", CodeUnavailable, "%s"},
	{http.StatusInternalServerError, "server_error", CodeServerFault, "%s"},
	{http.StatusTooManyRequests, "temporarily_unavailable", CodeThrottled, "There are too many incoming requests. %s"},
	{http.StatusBadRequest, "unsupported_grant_type", CodeUnsupportedGrant, "The app requested an unsupported grant type '%s'."},
	{http.StatusBadRequest, "invalid_scope", CodeInvalidScope, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope '%s' is not valid."},
	{http.StatusBadRequest, "invalid_scope", CodeNoDefaultScope, "The provided value for scope '%s' is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."},
	{http.StatusBadRequest, "invalid_resource", CodeUnknownResource, "The resource principal named '%s' was not found in the tenant named '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant."},
	{http.StatusBadRequest, "unauthorized_client", CodeUnknownApplication, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."},
	{http.StatusBadRequest, "unauthorized_client", CodeApplicationDisabled, "Application '%s' is disabled."},
	{http.StatusBadRequest, "unauthorized_client", CodeNoServicePrincipal, "The client application '%s' is missing service principal in the tenant '%s'."},
	{http.StatusUnauthorized, "invalid_client", CodeNoCredential, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
	{http.StatusUnauthorized, "invalid_client", CodeWrongSecret, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'."},
	{http.StatusUnauthorized, "invalid_client", CodeExpiredSecret, "The provided client secret keys for app '%s' are expired. Create new keys for your app, or consider using certificate credentials for added security."},
	{http.StatusUnauthorized, "invalid_client", CodeMalformedAssertion, "The client assertion is not a JSON Web Token that is signed with RS256 or PS256."},
	{http.StatusUnauthorized, "invalid_client", CodeAssertionKey, "The certificate with identifier used to sign the client assertion is not registered on application '%s', or the signature is invalid. [Reason - %s]"},
	{http.StatusUnauthorized, "invalid_client", CodeAssertionTime, "Client assertion is not within its valid time range. Current time: %s."},
	{http.StatusUnauthorized, "invalid_client", CodeAssertionAudience, "Client assertion audience claim does not match Realm issuer: found '%s'; want the URL of the token endpoint."},
	{http.StatusUnauthorized, "invalid_client", CodeAssertionClient, "Client assertion application identifier doesn't match 'client_id' parameter."},
	{http.StatusBadRequest, "invalid_client", CodeSubjectNotIssuer, "Subject must match Issuer claim in the client assertion."},
}

// NewSignInError makes the refusal of a number above; args fill its text. Texts of callers are
// made printable and cut. An unlisted number is a programming error and panics.
func NewSignInError(code int, args ...string) *SignInError {
	e, ok := signInError(code)
	if !ok {
		panic(fmt.Sprintf("identity: no text for AADSTS%d", code))
	}
	clean := make([]any, len(args))
	for i, a := range args {
		clean[i] = printable(a)
	}
	e.Message = fmt.Sprintf(e.Message, clean...)
	return &e
}

func signInError(code int) (SignInError, bool) {
	for _, e := range signInErrors {
		if e.Code == code {
			return e, true
		}
	}
	return SignInError{}, false
}

// SignInErrorOf turns the refusal that a SignInError became on its way through the pipeline back
// into one; ok is false for refusals of other origin.
func SignInErrorOf(refusal *apierr.Error) (e *SignInError, ok bool) {
	number, ok := strings.CutPrefix(refusal.Code, codePrefix)
	if !ok {
		return nil, false
	}
	code, err := strconv.Atoi(number)
	if err != nil {
		return nil, false
	}
	known, ok := signInError(code)
	known.Message = refusal.Message
	return &known, ok
}

// CheckSecret signs an application in by a client secret. Each of its secrets is compared in
// constant time. Whether the application is enabled is told only to who has the secret. A refusal
// is a *SignInError.
func (s *Store) CheckSecret(tx *db.Tx, appID string, secret envelope.Value) (p Principal, credentialID string, err error) {
	have, err := s.signInCredentials(tx, appID, Secret)
	if err != nil {
		return Principal{}, "", err
	}
	var match *Credential
	for i, c := range have {
		if s.Ring.CheckPepper(pepperPurpose, secret.Reveal(), c.digest) {
			match = &have[i]
		}
	}
	switch {
	case match == nil || tx.Now.Before(match.NotBefore):
		return Principal{}, "", NewSignInError(CodeWrongSecret, appID)
	case !tx.Now.Before(match.Expires):
		return Principal{}, "", NewSignInError(CodeExpiredSecret, appID)
	}
	p, err = s.signedIn(tx, *match)
	return p, match.ID, err
}

// signInCredentials returns an application's credentials of a kind, or refuses an application
// that does not exist.
func (s *Store) signInCredentials(tx *db.Tx, appID string, kind CredentialKind) ([]Credential, error) {
	app, found, err := s.application(tx, appID)
	if err != nil {
		return nil, err
	}
	if !found || !strings.EqualFold(app.AppID, appID) {
		return nil, NewSignInError(CodeUnknownApplication, appID, s.Tenant)
	}
	all, err := s.ListCredentials(tx, app.AppID)
	if err != nil {
		return nil, err
	}
	var out []Credential
	for _, c := range all {
		if c.Kind == kind {
			out = append(out, c)
		}
	}
	return out, nil
}

// signedIn returns the principal that a proven credential stands for.
func (s *Store) signedIn(tx *db.Tx, c Credential) (Principal, error) {
	p, found, err := s.byAppID(tx, c.AppID)
	if err != nil {
		return Principal{}, err
	}
	if !found {
		return Principal{}, NewSignInError(CodeNoServicePrincipal, c.AppID, s.Tenant)
	}
	if !p.Enabled {
		return Principal{}, NewSignInError(CodeApplicationDisabled, c.AppID)
	}
	return p, nil
}
