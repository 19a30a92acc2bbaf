package cli

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"strongroom/internal/resource"
)

const (
	managedProvider  = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
	servicePrincipal = "service principal"
	managedIdentity  = "managed identity"
)

// A principal is an identity as people see it: a service principal of the directory, or a
// managed identity, which is a resource too.
type principal struct {
	Name, ClientID, ObjectID string
	Kind                     string
	ResourceID               string         // of a managed identity
	wire                     jsontext.Value // as it came
}

func (a *app) identityGroup() *cobra.Command {
	return a.group("identity", "Create identities for programs, and their credentials",
		"  strongroom identity create web --managed\n  strongroom identity list",
		func(f *pflag.FlagSet) { connectionFlags(f); groupFlags(f) },
		spec{
			use: "create NAME", short: "Create an identity: an application with its service principal, or a managed identity",
			example: "  strongroom identity create web",
			flags: func(f *pflag.FlagSet) {
				f.Bool("managed", false, "a managed identity: for programs on the server's machine, without credentials")
				f.String("location", "", "where a managed identity lies (default: that of the resource group)")
			},
			run: (*call).createIdentity,
		},
		spec{use: "list", short: "List the identities", example: "  strongroom identity list", run: (*call).listIdentities},
		spec{
			use: "show NAME", short: "Show an identity, by name, client id or object id",
			example: "  strongroom identity show web", run: (*call).showIdentity,
		},
		spec{
			use: "delete NAME", short: "Delete an identity with its credentials",
			example: "  strongroom identity delete web", run: (*call).deleteIdentity,
		},
		spec{
			use: "add-secret NAME", short: "Make a client secret for an application; it is printed once and never again",
			example: "  strongroom identity add-secret web --expires 2027-01-31 > web.secret",
			flags: func(f *pflag.FlagSet) {
				f.String("display-name", "", "a name for the secret")
				f.String("expires", "", "when it ends, as in 2027-01-31 (default: the server's)")
			},
			run: (*call).addSecret,
		},
		spec{
			use: "add-certificate NAME", short: "Let an application sign in with a certificate",
			example: "  strongroom identity add-certificate web --file web.pem",
			flags: func(f *pflag.FlagSet) {
				fileFlag(f, "certificate in PEM or DER, without its key")
				f.String("display-name", "", "a name for the certificate")
			},
			run: (*call).addCertificate,
		},
		spec{
			use: "remove-credential NAME KEY-ID", short: "Remove a client secret or certificate of an application",
			example: "  strongroom identity remove-credential web 5d1c8c0e-6a5f-4c1c-9d36-0a1b2c3d4e5f", run: (*call).removeCredential,
		},
	)
}

// identities are all identities of programs: the directory has managed ones, too.
func (c *call) identities() ([]principal, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	items, err := cl.list(c.ctx, cl.graph(), "/v1.0/servicePrincipals")
	if err != nil {
		return nil, err
	}
	all := make([]principal, len(items))
	for i, item := range items {
		if all[i], err = fromDirectory(item); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func fromDirectory(item jsontext.Value) (principal, error) {
	var sp struct {
		ID          string `json:"id"`
		AppID       string `json:"appId"`
		DisplayName string `json:"displayName"`
		Type        string `json:"servicePrincipalType"`
		// AlternativeNames has the resource id of a managed identity.
		AlternativeNames []string `json:"alternativeNames"`
	}
	if json.Unmarshal(item, &sp) != nil || sp.ID == "" {
		return principal{}, errNotJSON
	}
	p := principal{Name: sp.DisplayName, ClientID: sp.AppID, ObjectID: sp.ID, Kind: servicePrincipal, wire: item}
	if sp.Type == "ManagedIdentity" {
		p.Kind = managedIdentity
	}
	if i := slices.IndexFunc(sp.AlternativeNames, isResourceID); i >= 0 {
		p.ResourceID = sp.AlternativeNames[i]
	}
	return p, nil
}

func isResourceID(name string) bool { return strings.HasPrefix(name, "/subscriptions/") }

func fromResource(item jsontext.Value) (principal, error) {
	var mi struct {
		ID         string `json:"id"`
		Name       string `json:"name"`
		Properties struct {
			ClientID    string `json:"clientId"`
			PrincipalID string `json:"principalId"`
		} `json:"properties"`
	}
	if json.Unmarshal(item, &mi) != nil || mi.Properties.PrincipalID == "" {
		return principal{}, errNotJSON
	}
	return principal{
		Name: mi.Name, ClientID: mi.Properties.ClientID, ObjectID: mi.Properties.PrincipalID,
		Kind: managedIdentity, ResourceID: mi.ID, wire: item,
	}, nil
}

// identity finds the identity with a name, client id or object id. A name that two have is
// refused: the wrong one would get what was meant for the other.
func (c *call) identity(text string) (principal, error) {
	all, err := c.identities()
	if err != nil {
		return principal{}, err
	}
	var named []principal
	for _, p := range all {
		if strings.EqualFold(p.ClientID, text) || strings.EqualFold(p.ObjectID, text) {
			return p, nil
		}
		if strings.EqualFold(p.Name, text) {
			named = append(named, p)
		}
	}
	const hint = `"strongroom identity list" shows names and ids`
	switch len(named) {
	case 0:
		return principal{}, failed(hint, "no identity named %q%w", text, quiet{errNoIdentity})
	case 1:
		return named[0], nil
	}
	return principal{}, failed(hint, "%d identities are named %q: want a client id or object id", len(named), text)
}

var errNoIdentity = errors.New("no such identity")

// objectID is whom a role is assigned to. A GUID that is no identity of the directory's programs
// is taken as the object id of a user or group, and the server judges it.
func (c *call) objectID(text string) (id, kind string, err error) {
	p, err := c.identity(text)
	switch {
	case err == nil:
		return p.ObjectID, "ServicePrincipal", nil
	case resource.IsGUID(text) && (errors.Is(err, errNoIdentity) || hasStatus(err, http.StatusForbidden)):
		return text, "", nil
	}
	return "", "", err
}

var (
	principalTitles = []string{"Name", "Client id", "Object id", "Kind"}
	detailTitles    = append(principalTitles[:4:4], "Tenant", "Resource")
)

func (p principal) row() []string { return []string{p.Name, p.ClientID, p.ObjectID, p.Kind} }

func (c *call) listIdentities() error {
	all, err := c.identities()
	if err != nil {
		return err
	}
	var rows [][]string
	var wire []jsontext.Value
	for _, p := range all {
		rows, wire = append(rows, p.row()), append(wire, p.wire)
	}
	if c.json() {
		return c.writeList(wire)
	}
	return c.writeTable(principalTitles, rows)
}

func (c *call) showPrincipal(p principal) error {
	if c.json() {
		return c.writeJSON(p.wire)
	}
	tenant, err := c.tenant()
	if err != nil && !hasStatus(err, http.StatusForbidden) {
		return err
	}
	return c.writeFields(detailTitles, append(p.row(), tenant, p.ResourceID))
}

func (c *call) createIdentity() error {
	_, err := c.identity(c.args[0])
	switch {
	case err == nil:
		return failed("", "an identity named %q exists already", c.args[0])
	case !errors.Is(err, errNoIdentity):
		return err
	}
	var p principal
	if c.text("managed") == "true" {
		p, err = c.createManaged()
	} else {
		p, err = c.createApplication()
	}
	if err != nil {
		return err
	}
	return c.showPrincipal(p)
}

func (c *call) createManaged() (principal, error) {
	group, err := c.resourceGroup()
	if err != nil {
		return principal{}, err
	}
	location, err := c.location(group)
	if err != nil {
		return principal{}, err
	}
	cl := c.connection
	path := group + managedProvider + "/" + url.PathEscape(c.args[0]) + "?api-version=" + identityVersion
	made, err := cl.do(c.ctx, cl.management(), http.MethodPut, path, map[string]string{"location": location})
	if err != nil {
		return principal{}, err
	}
	return fromResource(made)
}

// createApplication makes an application and the service principal by which it signs in; if the
// second fails, the first is taken back.
func (c *call) createApplication() (principal, error) {
	cl := c.connection
	var app struct {
		ID    string `json:"id"`
		AppID string `json:"appId"`
	}
	err := cl.ask(c.ctx, cl.graph(), http.MethodPost, "/v1.0/applications", map[string]string{"displayName": c.args[0]}, &app)
	if err != nil {
		return principal{}, err
	}
	made, err := cl.do(c.ctx, cl.graph(), http.MethodPost, "/v1.0/servicePrincipals", map[string]string{"appId": app.AppID})
	if err != nil {
		_, undo := cl.do(c.ctx, cl.graph(), http.MethodDelete, applicationPath(app.ID), nil)
		return principal{}, errors.Join(err, undo)
	}
	return fromDirectory(made)
}

func applicationPath(id string) string { return "/v1.0/applications/" + url.PathEscape(id) }

func (c *call) deleteIdentity() error {
	p, err := c.identity(c.args[0])
	if err != nil {
		return err
	}
	cl := c.connection
	if p.ResourceID != "" {
		_, err = cl.do(c.ctx, cl.management(), http.MethodDelete, p.ResourceID+"?api-version="+identityVersion, nil)
	} else {
		var app application
		if app, err = c.application(p); err == nil {
			_, err = cl.do(c.ctx, cl.graph(), http.MethodDelete, applicationPath(app.ID), nil)
		}
	}
	if err == nil {
		c.say("deleted the identity %q", p.Name)
	}
	return err
}
