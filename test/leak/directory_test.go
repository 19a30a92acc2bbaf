//go:build unix

package leak

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"

	"strongroom/test/served"
)

// directory takes applications through their life. All secrets that it is given count.
func (c *course) directory() {
	c.t.Helper()
	app, err := c.NewApplication("leaky")
	if err != nil {
		c.t.Fatal(err)
	}
	c.secrets.add("a client secret", app.Secret.SecretText, "")
	assignment := c.about.Vault("dev") + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01"
	c.good("PUT", assignment, served.RoleAssignment(administrator, app.PrincipalID))
	c.good("GET", assignment, "")
	c.good("GET", c.about.Vault("dev")+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01", "")
	for range values() / 10 {
		more, err := c.NewSecret(app.ObjectID, "")
		if err != nil {
			c.t.Fatal(err)
		}
		c.secrets.add("one more client secret", more.SecretText, "")
		used := app
		used.Secret = more
		c.token(used, served.VaultResource)
		c.good("POST", graph+"applications/"+app.ObjectID+"/removePassword", fmt.Sprintf(`{"keyId":%q}`, more.KeyID))
	}
	c.tokens(app)
	c.signIns(app)
	c.certificate(app)
	c.members(app)
	c.good("DELETE", assignment, "")
	c.good("PATCH", graph+"servicePrincipals/"+app.PrincipalID, `{"accountEnabled":false}`)
	c.good("DELETE", graph+"servicePrincipals/"+app.PrincipalID, "")
	c.good("DELETE", graph+"applications/"+app.ObjectID, "")
}

// tokens are used well, used in the wrong place, altered, and put where they do not belong.
func (c *course) tokens(app served.Application) {
	c.t.Helper()
	forVault, forGraph := c.token(app, served.VaultResource), c.token(app, "https://graph.localhost")
	c.get(200, served.VaultHost, "/secrets/kept"+version, forVault)
	c.get(200, "graph.localhost", "/v1.0/me", forGraph)
	for _, host := range []string{served.VaultHost, served.ManagementHost, "graph.localhost"} {
		for _, token := range []string{forVault + "x", forVault[:len(forVault)-2], "x" + forGraph, strings.Replace(forGraph, ".", "..", 1)} {
			c.get(401, host, "/", token)
			c.get(401, host, "/secrets/kept?access_token="+token, "")
		}
	}
	c.get(401, served.ManagementHost, "/tenants?api-version=2022-12-01", forVault)
	c.get(401, served.VaultHost, "/secrets/kept"+version, forGraph)
}

// get asks over TLS with a token, and wants a status.
func (c *course) get(want int, host, path, token string) {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, body, err := served.Do(&http.Client{Transport: c.Transport(), Timeout: time.Minute}, req)
	if err != nil || resp.StatusCode != want {
		c.t.Fatalf("GET %s%s: %v, %v: %s; want %d", host, path, resp, err, body, want)
	}
	if want != http.StatusOK || host != served.VaultHost {
		c.keep(body)
		c.keep(fmt.Append(nil, resp.Header))
	}
}

// signIns uses a client secret in all ways, and wrongly in more.
func (c *course) signIns(app served.Application) {
	c.t.Helper()
	secret, base := url.QueryEscape(app.Secret.SecretText), "grant_type=client_credentials&client_id="+app.AppID
	const scope, resource = "&scope=https://vault.localhost/.default", "&resource=https://vault.localhost"
	tenant := "login.localhost/" + c.about.Tenant
	for target, form := range map[string]string{
		tenant + "/oauth2/v2.0/token": base + scope, tenant + "/oauth2/token": base + resource, "login.localhost/adfs/oauth2/token": base + scope,
	} {
		var got struct {
			Token string `json:"access_token"`
		}
		c.MustDecode(c.Must("POST", target, form+"&client_secret="+secret), &got)
		c.secrets.add("a token of "+target, got.Token[strings.LastIndex(got.Token, ".")+1:], "")
		for _, more := range []string{
			"&client_secret=" + secret + "&client_secret=" + secret, "&client_secret=" + secret + "x", "&client_secret=%zz" + secret, ";client_secret=" + secret,
			"&client_secret=" + secret + "&client_assertion=" + secret, "&client_assertion_type=x&client_assertion=" + secret, "&grant_type=password&password=" + secret,
			"&CLIENT_SECRET=" + secret, "&client_secret=" + secret + strings.Repeat("x", 70000),
		} {
			c.bad("POST", target, form+more)
		}
		c.bad("POST", target, strings.Replace(form, "vault.localhost", "attacker.invalid", 1)+"&client_secret="+secret)
		c.bad("POST", target+"?client_secret="+secret, form)
		c.bad("GET", target+"?client_secret="+secret, "")
		c.bad("POST", strings.Replace(target, "login.localhost/", "login.localhost/x", 1), form+"&client_secret="+secret)
	}
}

// certificate registers one and signs in with it.
func (c *course) certificate(app served.Application) {
	c.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		c.t.Fatal(err)
	}
	body := fmt.Sprintf(`{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":%q}]}`, base64.StdEncoding.EncodeToString(der))
	c.good("PATCH", graph+"applications/"+app.ObjectID, body)
	var got struct{ KeyCredentials []struct{ KeyID string } }
	c.MustDecode(c.good("GET", graph+"applications/"+app.ObjectID, ""), &got)
	c.good("POST", graph+"applications/"+app.ObjectID+"/removeKey", fmt.Sprintf(`{"keyId":%q}`, got.KeyCredentials[0].KeyID))
}

func (c *course) members(app served.Application) {
	c.t.Helper()
	var group struct{ ID string }
	c.MustDecode(c.good("POST", graph+"groups", `{"displayName":"fresh","mailEnabled":false,"securityEnabled":true}`), &group)
	one := graph + "groups/" + group.ID
	c.good("POST", one+"/members/$ref", fmt.Sprintf(`{"@odata.id":"https://graph.localhost/v1.0/directoryObjects/%s"}`, app.PrincipalID))
	for _, target := range []string{"groups", "groups/" + group.ID, "groups/" + group.ID + "/members", "applications", "servicePrincipals", "servicePrincipals/" + app.PrincipalID} {
		c.good("GET", graph+target, "")
	}
	c.good("POST", graph+"directoryObjects/getByIds", fmt.Sprintf(`{"ids":[%q]}`, app.PrincipalID))
	c.good("DELETE", one+"/members/"+app.PrincipalID+"/$ref", "")
	c.good("DELETE", one, "")
}

func (c *course) documents() {
	tenant := "login.localhost/" + c.about.Tenant
	for _, target := range []string{
		"/v2.0/.well-known/openid-configuration", "/.well-known/openid-configuration", "/discovery/v2.0/keys", "/discovery/keys",
	} {
		c.good("GET", tenant+target, "")
	}
	c.good("GET", "login.localhost/common/discovery/instance?api-version=1.1&authorization_endpoint=https://"+c.about.LoginHost+"/"+c.about.Tenant+"/oauth2/v2.0/authorize", "")
}

// managedIdentity gets tokens in both forms, by the secret of a run and as the server's own user.
func (c *course) managedIdentity() {
	c.t.Helper()
	run := c.OpenRun(`{"identity":""}`)
	c.secrets.add("the secret of a run", run.Secret, "")
	const query = "?api-version=2019-08-01&resource=https://vault.azure.net"
	c.identity(200, run.IdentityEndpoint+query, "X-IDENTITY-HEADER", run.Secret)
	c.identity(401, run.IdentityEndpoint+query, "X-IDENTITY-HEADER", run.Secret+"x")
	c.identity(401, run.IdentityEndpoint+query, "Secret", run.Secret)
	c.identity(400, run.IdentityEndpoint+"?api-version=x&resource=https://vault.azure.net", "X-IDENTITY-HEADER", run.Secret)
	c.identity(200, run.Proxy+"/metadata/identity/oauth2/token"+query, "Metadata", "true")
	own := "http://" + c.identityListen
	c.identity(200, own+"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost", "Metadata", "true")
	c.identity(400, own+"/metadata/identity/oauth2/token?api-version=2018-02-01", "Metadata", "true")
	c.identity(401, own+"/msi/token"+query, "X-IDENTITY-HEADER", run.Secret)
	run.End()
	c.bad("POST", "login.localhost/runs", `{"identity":"nosuch"}`)
	c.bad("POST", "login.localhost/runs", `{"identity":"","vault":"a.b"}`)
}

// identity asks the managed identity endpoint, and takes the token of a success.
func (c *course) identity(want int, address, header, value string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set(header, value)
	resp, body, err := served.Do(http.DefaultClient, req)
	if err != nil || resp.StatusCode != want {
		c.t.Fatalf("GET %s: %v, %v: %s; want %d", address, resp, err, body, want)
	}
	if want != http.StatusOK {
		c.keep(body)
		return
	}
	var got struct {
		Token string `json:"access_token"`
	}
	c.MustDecode(body, &got)
	c.secrets.add("a managed identity's token", got.Token[strings.LastIndex(got.Token, ".")+1:], "")
}
