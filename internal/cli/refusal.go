package cli

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A refusal is an answer of the server that is not 2xx.
type refusal struct {
	status  int
	code    string // Azure's word; "" if the answer had none
	inner   string // the word of innererror, more exact than code
	message string // one line
}

func (r *refusal) Error() string {
	words := http.StatusText(r.status)
	if r.code != "" {
		words = r.code
	}
	if r.inner != "" {
		words += ", " + r.inner
	}
	if r.message == "" {
		return fmt.Sprintf("the server answered %d %s", r.status, words)
	}
	return fmt.Sprintf("the server answered %d %s: %s", r.status, words, r.message)
}

// newRefusal reads the envelopes of all faces: an error object, or OAuth's two strings. Other
// text, such as a proxy's page, is left out.
func newRefusal(status int, body []byte) *refusal {
	r := &refusal{status: status}
	var envelope struct {
		Error       jsontext.Value `json:"error"`
		Description string         `json:"error_description"`
		Message     string         `json:"message"` // App Service's managed identity
	}
	if json.Unmarshal(body, &envelope) != nil {
		return r
	}
	var object struct {
		Code       string `json:"code"`
		Message    string `json:"message"`
		InnerError struct {
			Code string `json:"code"`
		} `json:"innererror"`
	}
	if envelope.Error.Kind() == '{' && json.Unmarshal(envelope.Error, &object) == nil {
		r.code, r.inner, r.message = object.Code, object.InnerError.Code, oneLine(object.Message)
		return r
	}
	r.message = oneLine(or(envelope.Description, envelope.Message))
	if len(envelope.Error) > 0 && json.Unmarshal(envelope.Error, &r.code) != nil {
		r.message = ""
	}
	return r
}

// oneLine joins the lines of Azure's longer texts.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// isNotFound says whether the server answered 404.
func isNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

func hasStatus(err error, status int) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status == status
}
