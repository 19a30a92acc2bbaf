//go:build unix

package crash

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// An application is its secrets, a certificate, and its service principal. It begins once: a second
// one of the same name would be another.
var applicationKind = &kind{name: "application", often: 2, see: seeApplication, steps: []*step{
	{
		op: "ApplicationCreate", can: lacks("(begun)"), once: true,
		ask: func(x *thing, _ string) request {
			return graph("ApplicationCreate", "POST", "applications", fmt.Sprintf(`{"displayName":%q}`, x.name))
		},
		does: func(s state, _ string) { s[life], s["(begun)"] = active, "yes" },
		learn: func(x *thing, _ string, body []byte) error {
			got, err := decode[object](body)
			x.ids["object"], x.ids["app"] = got.ID, got.AppID
			return wantEqual(err, got.DisplayName, x.name)
		},
	},
	{
		op: "ApplicationGet", can: lives(active),
		ask: func(x *thing, _ string) request { return graph("ApplicationGet", "GET", x.application(), "") },
		learn: func(x *thing, _ string, body []byte) error {
			got, err := decode[object](body)
			if len(got.KeyCredentials) > 0 {
				x.ids["certificate"] = got.KeyCredentials[0].KeyID
			}
			return err
		},
	},
	{
		op: "ApplicationAddPassword", can: lives(active),
		ask: func(x *thing, mark string) request {
			return graph("ApplicationAddPassword", "POST", x.application()+"/addPassword", fmt.Sprintf(`{"passwordCredential":{"displayName":%q}}`, mark))
		},
		does: func(s state, mark string) { s["password "+mark] = "there" },
		learn: func(x *thing, mark string, body []byte) error {
			got, err := decode[credential](body)
			x.ids["key "+mark], x.ids["text "+mark] = got.KeyID, got.SecretText
			return wantEqual(err, got.DisplayName, mark)
		},
	},
	{
		op: "ApplicationRemovePassword", can: lives(active), once: true, // again, it would be refused
		pick: func(x *thing) (string, bool) {
			for part := range x.belief {
				if mark, is := strings.CutPrefix(part, "password "); is && x.ids["key "+mark] != "" {
					return mark, true
				}
			}
			return "", false
		},
		ask: func(x *thing, mark string) request {
			return graph("ApplicationRemovePassword", "POST", x.application()+"/removePassword", fmt.Sprintf(`{"keyId":%q}`, x.ids["key "+mark]))
		},
		does: func(s state, mark string) { delete(s, "password "+mark) },
	},
	{
		op: "ApplicationUpdate", can: all(lives(active), lacks("certificate")), once: true, // nobody knows its id
		ask: func(x *thing, mark string) request {
			return graph("ApplicationUpdate", "PATCH", x.application(),
				fmt.Sprintf(`{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","displayName":%q,"key":%q}]}`, mark, certificate()))
		},
		does: func(s state, mark string) { s["certificate"] = mark },
	},
	{
		op: "ApplicationRemoveKey", can: all(lives(active), has("certificate")),
		pick: func(x *thing) (string, bool) { return "", x.ids["certificate"] != "" },
		ask: func(x *thing, _ string) request {
			return graph("ApplicationRemoveKey", "POST", x.application()+"/removeKey", fmt.Sprintf(`{"keyId":%q}`, x.ids["certificate"]))
		},
		does:  func(s state, _ string) { delete(s, "certificate") },
		learn: func(x *thing, _ string, _ []byte) error { delete(x.ids, "certificate"); return nil },
		once:  true,
	},
	{
		op: "ServicePrincipalCreate", can: all(lives(active), lacks("principal")), once: true,
		ask: func(x *thing, _ string) request {
			return graph("ServicePrincipalCreate", "POST", "servicePrincipals", fmt.Sprintf(`{"appId":%q}`, x.ids["app"]))
		},
		does: func(s state, _ string) { s["principal"] = "true" },
		learn: func(x *thing, _ string, body []byte) error {
			got, err := decode[object](body)
			x.ids["principal"] = got.ID
			return wantEqual(err, got.AppID, x.ids["app"])
		},
	},
	enable("true"), enable("false"),
	{
		op: "ServicePrincipalDelete", can: has("principal"),
		ask:  func(x *thing, _ string) request { return graph("ServicePrincipalDelete", "DELETE", x.principal(), "") },
		does: func(s state, _ string) { delete(s, "principal") },
	},
	{
		op: "ApplicationDelete", can: lives(active),
		ask:  func(x *thing, _ string) request { return graph("ApplicationDelete", "DELETE", x.application(), "") },
		does: func(s state, _ string) { s.clear() },
	},
}}

func enable(to string) *step {
	return &step{
		op: "ServicePrincipalUpdate", can: has("principal"),
		ask: func(x *thing, _ string) request {
			return graph("ServicePrincipalUpdate", "PATCH", x.principal(), `{"accountEnabled":`+to+`}`)
		},
		does: func(s state, _ string) { s["principal"] = to },
	}
}

func (x *thing) application() string { return "applications/" + x.ids["object"] }

func (x *thing) principal() string { return "servicePrincipals/" + x.ids["principal"] }

// An object is one of the directory.
type object struct {
	ID, AppID, DisplayName string
	AccountEnabled         bool
	PasswordCredentials    []credential
	KeyCredentials         []credential
}

// A credential is a secret or a certificate of an application.
type credential struct{ KeyID, DisplayName, SecretText string }

// objects reads a list by a filter.
func objects(c *client, op, path string) ([]object, error) {
	var page struct{ Value []object }
	_, err := look(c, graph(op, "GET", path, ""), &page)
	return page.Value, err
}

func seeApplication(c *client, x *thing) (state, error) {
	found, err := objects(c, "ApplicationList", "applications"+filter("displayName", x.name))
	switch {
	case err != nil:
		return nil, err
	case len(found) > 1:
		return nil, x.doubled("%d applications have the name", len(found))
	case len(found) == 0:
		return state{}, x.signsIn(c, state{})
	}
	var app object
	if _, err := look(c, graph("ApplicationGet", "GET", "applications/"+found[0].ID, ""), &app); err != nil {
		return nil, err
	}
	s := state{life: active}
	for _, p := range app.PasswordCredentials {
		if s["password "+p.DisplayName] != "" {
			return nil, x.doubled("two secrets have the name %q", p.DisplayName)
		}
		s["password "+p.DisplayName] = "there"
	}
	for _, k := range app.KeyCredentials {
		if s["certificate"] != "" {
			return nil, x.doubled("it has %d certificates", len(app.KeyCredentials))
		}
		s["certificate"] = k.DisplayName
	}
	if err := seePrincipal(c, x, s, app.AppID); err != nil {
		return nil, err
	}
	return s, x.signsIn(c, s)
}

func seePrincipal(c *client, x *thing, s state, app string) error {
	found, err := objects(c, "ServicePrincipalList", "servicePrincipals"+filter("appId", app))
	switch {
	case err != nil:
		return err
	case len(found) > 1:
		return x.doubled("it has %d service principals", len(found))
	case len(found) == 1:
		s["principal"] = fmt.Sprint(found[0].AccountEnabled)
		_, err = look(c, graph("ServicePrincipalGet", "GET", "servicePrincipals/"+found[0].ID, ""), nil)
	}
	return err
}

// signsIn signs in with each secret that was told: it holds as long as it is listed and the service
// principal is there and enabled.
func (x *thing) signsIn(c *client, s state) error {
	for key, text := range x.ids {
		mark, is := strings.CutPrefix(key, "text ")
		if !is {
			continue
		}
		t, body := c.send(signIn("TokenIssue", x.home.about.Tenant, x.ids["app"], text))
		if !t.answered() {
			return errUnanswered
		}
		if want := s["password "+mark] != "" && s["principal"] == "true"; t.succeeded() != want {
			return x.disagree("secret %q, %q in the list, with principal %q: signing in gets %d: %s", mark, s["password "+mark], s["principal"], t.status, body)
		}
	}
	return nil
}

// signIn is the request for a token by a secret, at one of the three places.
func signIn(op, tenant, app, secret string) request {
	path := map[string]string{
		"TokenIssue": "/" + tenant + "/oauth2/v2.0/token", "TokenIssueV1": "/" + tenant + "/oauth2/token", "TokenIssueADFS": "/adfs/oauth2/token",
	}[op]
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {app}, "client_secret": {secret}}
	if op == "TokenIssueV1" {
		form.Set("resource", served.VaultResource)
	} else {
		form.Set("scope", served.VaultResource+"/.default")
	}
	return request{
		op: op, method: "POST", host: loginHost, path: path, body: form.Encode(),
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	}
}

// A group is its members, out of a few standing principals.
var groupKind = &kind{name: "group", often: 1, see: seeGroup, steps: []*step{
	{
		op: "GroupCreate", can: lacks("(begun)"), once: true,
		ask: func(x *thing, _ string) request {
			return graph("GroupCreate", "POST", "groups", fmt.Sprintf(`{"displayName":%q,"mailEnabled":false,"securityEnabled":true}`, x.name))
		},
		does: func(s state, _ string) { s[life], s["(begun)"] = active, "yes" },
		learn: func(x *thing, _ string, body []byte) error {
			got, err := decode[object](body)
			x.ids["object"] = got.ID
			return wantEqual(err, got.DisplayName, x.name)
		},
	},
	{
		op: "GroupAddMember", can: lives(active),
		pick: func(x *thing) (string, bool) { return x.member(false) },
		ask: func(x *thing, mark string) request {
			return graph("GroupAddMember", "POST", "groups/"+x.ids["object"]+"/members/$ref", fmt.Sprintf(`{"@odata.id":"https://graph.localhost/v1.0/directoryObjects/%s"}`, mark))
		},
		does: func(s state, mark string) { s["member "+mark] = "in" },
		once: true, // again, it would be refused
	},
	{
		op: "GroupRemoveMember", can: lives(active),
		pick: func(x *thing) (string, bool) { return x.member(true) },
		ask: func(x *thing, mark string) request {
			return graph("GroupRemoveMember", "DELETE", "groups/"+x.ids["object"]+"/members/"+mark+"/$ref", "")
		},
		does: func(s state, mark string) { delete(s, "member "+mark) },
		once: true, // again, it would be refused
	},
	{
		op: "GroupDelete", can: lives(active),
		ask:  func(x *thing, _ string) request { return graph("GroupDelete", "DELETE", "groups/"+x.ids["object"], "") },
		does: func(s state, _ string) { s.clear() },
	},
}}

// member is a standing principal that is in the group, or is not.
func (x *thing) member(in bool) (id string, ready bool) {
	i := slices.IndexFunc(x.home.members, func(id string) bool { return (x.belief["member "+id] != "") == in })
	if i < 0 {
		return "", false
	}
	return x.home.members[i], true
}

func seeGroup(c *client, x *thing) (state, error) {
	found, err := objects(c, "GroupList", "groups"+filter("displayName", x.name))
	switch {
	case err != nil:
		return nil, err
	case len(found) > 1:
		return nil, x.doubled("%d groups have the name", len(found))
	case len(found) == 0:
		return state{}, nil
	}
	if _, err := look(c, graph("GroupGet", "GET", "groups/"+found[0].ID, ""), nil); err != nil {
		return nil, err
	}
	s := state{life: active}
	members, err := objects(c, "GroupListMembers", "groups/"+found[0].ID+"/members")
	for _, m := range members {
		if s["member "+m.ID] != "" {
			return nil, x.doubled("member %s is in it twice", m.ID)
		}
		s["member "+m.ID] = "in"
	}
	return s, err
}

// decode reads an answer, whose members have the names of the fields in whatever case.
func decode[T any](body []byte) (out T, err error) {
	err = json.Unmarshal(body, &out, json.MatchCaseInsensitiveNames(true))
	return out, err
}

// wantEqual adds to an error that something is not what was asked for.
func wantEqual(err error, got, want string) error {
	if got != want {
		err = errors.Join(err, fmt.Errorf("got %q, want %q", got, want))
	}
	return err
}
