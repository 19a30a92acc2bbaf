package login

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// kinds are the numbers and statuses of refusals that the pipeline makes, which have no number.
var kinds = map[apierr.Kind]struct{ number, status int }{
	apierr.BadRequestKind:       {identity.CodeMalformedRequest, http.StatusBadRequest},
	apierr.NotFoundKind:         {identity.CodeMalformedRequest, http.StatusNotFound},
	apierr.MethodNotAllowedKind: {codeWrongMethod, http.StatusMethodNotAllowed},
	apierr.TooLargeKind:         {identity.CodeMalformedRequest, http.StatusRequestEntityTooLarge},
	apierr.TooManyKind:          {identity.CodeThrottled, http.StatusTooManyRequests},
	apierr.UnavailableKind:      {identity.CodeUnavailable, http.StatusServiceUnavailable},
	apierr.InternalKind:         {identity.CodeServerFault, http.StatusInternalServerError},
}

// codeWrongMethod is the number of a request by another method than the endpoint takes.
const codeWrongMethod = 900561

func missing(field string) error {
	return identity.NewSignInError(identity.CodeMissingParameter, field)
}

// An oauthError is RFC 6749's error with Entra's additions.
type oauthError struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri"`
}

// A localError is the refusal of an operation of the local socket.
type localError struct {
	Error localErrorDetail `json:"error"`
}

type localErrorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (f *face) Refuse(c *operation.Call, e *apierr.Error, h http.Header) (int, any) {
	noStore(h)
	h.Del("Access-Control-Allow-Origin")
	if c.Op != nil && c.Op.Access == operation.Local {
		return kinds[e.Kind].status, localError{localErrorDetail{e.Code, ownWords(e.Message)}}
	}
	refusal := signInError(e)
	if scheme, _, _ := strings.Cut(c.Header("Authorization"), " "); refusal.Status == http.StatusUnauthorized && strings.EqualFold(scheme, "Basic") {
		h.Set("WWW-Authenticate", `Basic realm="strongroom", charset="UTF-8"`) // RFC 6749, 5.2
	}
	trace, correlation, at := c.RequestID, c.RequestID, c.Now().Format("2006-01-02 15:04:05Z")
	if id := c.Header("client-request-id"); resource.IsGUID(id) {
		correlation = id
	}
	return refusal.Status, oauthError{
		Error:       refusal.OAuth,
		Description: fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", refusal.Error(), trace, correlation, at),
		Codes:       []int{refusal.Code}, Timestamp: at, TraceID: trace, CorrelationID: correlation,
		URI: endpointURL(c.Host) + "/error?code=" + strconv.Itoa(refusal.Code),
	}
}

// signInError gives a refusal of any origin a number, a word and a status.
func signInError(e *apierr.Error) *identity.SignInError {
	if refusal, ok := identity.SignInErrorOf(e); ok {
		return refusal
	}
	k := kinds[e.Kind]
	if k.number == codeWrongMethod {
		return &identity.SignInError{Status: k.status, OAuth: "invalid_request", Code: k.number, Message: e.Message}
	}
	refusal := identity.NewSignInError(k.number, ownWords(e.Message))
	refusal.Status = k.status
	return refusal
}

// ownWords leaves out the line that the pipeline puts before what is wrong with a body: it is the
// vaults' ("Property has invalid value"), and forms have no properties.
func ownWords(message string) string {
	if _, own, ok := strings.Cut(message, "\r\n"); ok && own != "" {
		return strings.ToUpper(own[:1]) + own[1:]
	}
	return message
}
