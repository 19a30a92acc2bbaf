//go:build unix

package crash

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"time"

	"strongroom/test/served"
)

// kinds are all kinds of things. The long list of operations is in docs/api.md; TestEveryOperation
// finds the one that has no step and no reading here.
var kinds = []*kind{secretKind, vaultKind, grantKind, identityKind, resourceGroupKind, applicationKind, groupKind}

// A home is where a round's things are, and the standing things that they need.
type home struct {
	about   served.About
	vault   string // of the round's secrets
	members []string
	reader  served.Application // a standing application with a secret
	client  string             // client id of a standing managed identity
	msi     string             // the managed identity endpoint
}

const (
	dataVersion   = "?api-version=7.6"
	vaultVersion  = "?api-version=2024-11-01"
	accessVersion = "?api-version=2022-04-01"
	groupVersion  = "?api-version=2021-04-01"
	msiVersion    = "?api-version=2023-01-31"
	graphHost     = "graph.localhost"
	loginHost     = "login.localhost"
	standing      = "standing"
)

// secretsUser is the role "Key Vault Secrets User", by its published id.
const secretsUser = "4633458b-17de-408a-b874-0445c86b69e6"

func vaultHost(vault string) string { return vault + ".vault.localhost" }

func (h *home) data(op, method, path, body string) request {
	return request{op: op, method: method, host: vaultHost(h.vault), path: path + dataVersion, body: body}
}

func (h *home) subscription() string { return "/subscriptions/" + h.about.Subscription }

func (h *home) group() string { return h.subscription() + "/resourceGroups/" + h.about.Group }

func (h *home) vaults() string { return h.group() + "/providers/Microsoft.KeyVault/vaults" }

func (h *home) deletedVaults() string {
	return h.subscription() + "/providers/Microsoft.KeyVault/locations/" + h.about.Region + "/deletedVaults"
}

func (h *home) identities() string {
	return h.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
}

func manage(op, method, path, body string) request {
	return request{op: op, method: method, host: served.ManagementHost, path: path, body: body}
}

func graph(op, method, path, body string) request {
	return request{op: op, method: method, host: graphHost, path: "/v1.0/" + path, body: body}
}

// filter is a query by an equal name.
func filter(name, value string) string {
	return "?$filter=" + url.QueryEscape(name+" eq '"+value+"'")
}

// location is a body with a place and one tag.
func (h *home) location(mark string) string {
	return fmt.Sprintf(`{"location":%q,"tags":{"mark":%q}}`, h.about.Region, mark)
}

// errUnanswered is what seeing a thing gives while the server does not answer.
var errUnanswered = errors.New("no answer")

// A seenFault is an error about what is there: a fault.
type seenFault struct{ fault }

func (f seenFault) Error() string { return f.kind + ": " + f.text }

// look reads what is there; status is 404 where there is nothing. Whatever else is answered than
// success, or what is also wanted, is an error.
func look(c *client, r request, into any, also ...int) (status int, err error) {
	t, body := c.send(r)
	if !t.answered() {
		return 0, errUnanswered
	}
	for _, other := range also {
		if t.status == other {
			return t.status, nil
		}
	}
	if !t.succeeded() {
		return t.status, seenFault{faultf(half, "%s %s%s: %d: %s", r.op, r.host, r.path, t.status, body)}
	}
	if into == nil || len(body) == 0 {
		return t.status, nil
	}
	if err := served.Decode(body, into); err != nil {
		return t.status, seenFault{faultf(half, "%s %s%s: %v", r.op, r.host, r.path, err)}
	}
	return t.status, nil
}

// disagree is a fault of a thing whose parts do not agree.
func (x *thing) disagree(format string, args ...any) error {
	return seenFault{faultf(half, "%s %s: %s", x.kind.name, x.name, fmt.Sprintf(format, args...))}
}

// doubled is a fault of a thing that is there twice.
func (x *thing) doubled(format string, args ...any) error {
	return seenFault{faultf(double, "%s %s: %s", x.kind.name, x.name, fmt.Sprintf(format, args...))}
}

// certificate is one that an application takes, in base64.
var certificate = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // no randomness
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err) // the template is wrong
	}
	return base64.StdEncoding.EncodeToString(der)
})
