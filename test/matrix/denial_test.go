//go:build unix

package matrix

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
)

// A refusal is the body of an answer that is none, in either face.
type refusal struct {
	Error struct {
		Code       string      `json:"code"`
		Message    string      `json:"message"`
		InnerError *innerError `json:"innererror"`
	} `json:"error"`
}

type innerError struct {
	Code string `json:"code"`
}

// notNow are refusals that come after the permission: who gets one has the right. There is no new root
// key in this deployment, and one rotation has to end before the next.
var notNow = map[string]string{"RootKeyChange": "NoNewRootKey", "VaultDataKeyRotate": "KeyRotationUnderWay"}

// permitted says whether an answer shows that the caller has the right.
func (x *cell) permitted(a answer) bool {
	if a.status < 300 {
		return true
	}
	var r refusal
	return a.status == http.StatusConflict && json.Unmarshal(a.body, &r) == nil && r.Error.Code != "" && r.Error.Code == notNow[x.name]
}

// fault says what is wrong with an answer to a cell, or "".
func (x *cell) fault(d *deployment, q *request, a answer) string {
	got := fmt.Sprintf("got %d %s", a.status, a.body)
	switch {
	case x.want == hide && a.status != http.StatusNotFound:
		return got + ", want 404: there is no such operation over the wire"
	case x.want == allow && !x.permitted(a):
		return got + ", want success: " + x.action + " is allowed"
	case (x.want == deny || x.want == denyRole) && a.status != http.StatusForbidden:
		return got + ", want 403: " + x.action + " is not allowed at " + q.asked
	case x.want == hide || x.want == allow || q.method == http.MethodHead: // HEAD has no body
		return ""
	}
	var r refusal
	if err := json.Unmarshal(a.body, &r, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Sprintf("%s: %v", got, err)
	}
	if problem := x.denial(d, q, r); problem != "" {
		return got + ", want " + problem
	}
	return ""
}

// denial says what a refusal lacks of the body that Azure has for it, or "".
func (x *cell) denial(d *deployment, q *request, r refusal) string {
	if !x.data() {
		return x.managementDenial(q, r)
	}
	if r.Error.Code != "Forbidden" || r.Error.InnerError == nil || r.Error.InnerError.Code != "ForbiddenByRbac" {
		return "code Forbidden with ForbiddenByRbac inside"
	}
	if want := x.dataDenial(d, q); !want.MatchString(r.Error.Message) {
		return "a message like " + want.String()
	}
	return ""
}

// dataDenial matches the data plane's text: keywords of the resource are in lower case, and the
// last lines may say why.
func (x *cell) dataDenial(d *deployment, q *request) *regexp.Regexp {
	resource := strings.NewReplacer("/resourceGroups/", "/resourcegroups/", "/Microsoft.KeyVault/", "/microsoft.keyvault/").Replace(q.asked)
	quote := regexp.QuoteMeta
	return regexp.MustCompile("^" + strings.Join([]string{
		quote("Caller is not authorized to perform action on resource."),
		quote("If role assignments, deny assignments or role definitions were changed recently, please observe propagation time."),
		quote("Caller: appid="+x.c.appID+";oid="+x.c.objectID+";iss=https://") + ".*" + quote("/"+d.about.Tenant+"/"),
		quote("Action: '" + x.action + "'"),
		quote("Resource: '" + resource + "'"),
		quote("Assignment: (not found)"),
		quote("DenyAssignmentId: null"),
		"DecisionReason: .*",
		quote("Vault: " + mainVault + ";location=" + d.about.Region),
	}, "\r\n") + "\r\n$")
}

// managementDenial compares with Azure Resource Manager's text.
func (x *cell) managementDenial(q *request, r refusal) string {
	lacking := "authorization"
	if x.want == denyRole {
		lacking = "authorization or an ABAC condition not fulfilled"
	}
	want := fmt.Sprintf("The client '%s' with object id '%s' does not have %s to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		x.c.appID, x.c.objectID, lacking, x.action, q.asked)
	if r.Error.Code != "AuthorizationFailed" || r.Error.Message != want || r.Error.InnerError != nil {
		return "AuthorizationFailed: " + want
	}
	return ""
}
