//go:build unix

package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"strongroom/test/served"
)

// secretsOfficer is the published id of Key Vault Secrets Officer, who may do everything here.
const secretsOfficer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"

// An app is an application of a history, with two secrets to sign in with and one role assignment
// that it is given and taken.
type app struct {
	served.Application
	secrets    [2]served.Secret
	assignment string // its path at the management host
	token      string // the first one
}

// A client does one operation after the other, each at a node of its choice.
type client struct {
	*history
	cluster  *cluster
	nodes    []*node // of the cluster: those that the client asks
	rand     *rand.Rand
	id       int
	caller   int // an application, or owner
	apps     []*app
	token    string
	hurry    time.Duration // how long the client waits for some answers; 0 is for all
	versions [][]string    // ids that it has been told, by secret
}

// secretMix and applicationMix are what clients do, in proportion.
var (
	secretMix = []kind{
		set, set, set, set, get, get, get, get, get, get, getVersion, update, updateVersion, remove, remove, getDeleted,
		recovered, recovered, purge, list,
	}
	applicationMix = []kind{grant, grant, grant, revoke, revoke, enable, enable, disable, drop, signIn, signIn}
)

// work does a number of operations. One who is an application signs in anew at times; the owner
// sees to the applications half of the time.
func (c *client) work(operations int) {
	for range operations {
		k := secretMix[c.rand.IntN(len(secretMix))]
		switch {
		case c.caller != owner && c.rand.IntN(12) == 0:
			k = signIn
		case c.caller == owner && c.rand.IntN(2) == 0:
			k = applicationMix[c.rand.IntN(len(applicationMix))]
		}
		c.perform(c.draft(k))
	}
}

// draft chooses what an operation of a kind is about.
func (c *client) draft(k kind) record {
	r := record{client: c.id, input: input{kind: k, caller: c.caller, name: c.rand.IntN(c.names)}}
	switch k {
	case set:
		r.value, _ = c.fresh()
	case update:
		_, r.text = c.fresh()
	case getVersion, updateVersion:
		told := c.versions[r.name]
		if len(told) == 0 {
			r.kind = get
			break
		}
		r.version = told[c.rand.IntN(len(told))]
		if k == updateVersion {
			_, r.text = c.fresh()
		}
	}
	if r.kind.ofApplication() {
		r.app, r.credential = c.rand.IntN(len(c.apps)), c.rand.IntN(2)
		if c.caller != owner {
			r.app = c.caller
		}
	}
	return r
}

// certain are the statuses that say how an operation ended, beside 401 and 403.
var certain = map[kind][]int{
	set: {200, 409}, get: {200, 404}, getVersion: {200, 404}, update: {200, 404}, updateVersion: {200, 404},
	remove: {200, 404}, getDeleted: {200, 404}, recovered: {200, 404}, purge: {204, 404}, list: {200},
	grant: {200, 201}, revoke: {200, 204}, enable: {204}, disable: {204}, drop: {204, 400}, signIn: {200, 400, 401},
}

// perform does an operation and records it. A node that takes no connection has not heard of it:
// another one is asked.
func (c *client) perform(r record) {
	var status int
	var body []byte
	var err error
	reached := served.Poll(time.Minute, func() bool {
		node := c.nodes[c.rand.IntN(len(c.nodes))]
		r.call = c.now()
		status, body, err = c.send(node, r)
		dial, ok := errors.AsType[*net.OpError](err)
		return !ok || dial.Op != "dial"
	})
	r.ret = c.now()
	switch {
	case !reached:
		c.fault("client %d: no node takes a connection: %v", c.id, err)
		return
	case err != nil, status == http.StatusServiceUnavailable && strings.Contains(string(body), "look whether it took place"):
		status = 0
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return // nothing was changed, says the server; the history will tell
	case !slices.Contains(certain[r.kind], status) && (c.caller == owner || status != 401 && status != 403):
		c.fault("client %d: %s: %d: %s", c.id, describe(r.input, output{}), status, body)
		return
	}
	if status != 0 {
		if r.answer, err = parse(r.kind, status, body); err != nil {
			c.fault("client %d: %s: %d: %v", c.id, describe(r.input, output{}), status, err)
			return
		}
	}
	if r.answer.version != "" && (r.kind == set || r.kind == get) {
		c.versions[r.name] = append(c.versions[r.name], r.answer.version)
	}
	if r.kind == set && status == http.StatusOK {
		r.answer.value = c.value(r.value) // a set is answered with its own value: what is read must be it
	}
	c.add(r)
}

// send sends the request of an operation to a node: as an application over TLS with its token, and
// as the owner over the local socket.
func (c *client) send(n *node, r record) (status int, body []byte, err error) {
	if r.kind == signIn {
		a := c.apps[r.app]
		status, token, err := n.SignIn(c.cluster.about.Tenant, a.AppID, a.secrets[r.credential].SecretText, served.VaultResource)
		if token != "" && c.caller == r.app {
			c.token = token
		}
		if status != 0 {
			err = nil // the status says it
		}
		return status, nil, err
	}
	method, host, path, content := c.request(r)
	if c.caller == owner {
		status, _, body, err = n.Call(method, host, path, content)
		return status, body, err
	}
	ctx := context.Background()
	if c.hurry > 0 && c.rand.IntN(8) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.hurry)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, strings.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, body, err := served.Do(n.tls, req)
	if resp == nil {
		return 0, nil, err
	}
	return resp.StatusCode, body, err
}

// request is how an operation is asked for on the wire.
func (c *client) request(r record) (method, host, path, body string) {
	const version = "?api-version=7.6"
	living, deleted := "/secrets/"+c.secret(r.name), "/deletedsecrets/"+c.secret(r.name)
	a := &app{}
	if r.kind.ofApplication() {
		a = c.apps[r.app]
	}
	const graph, management = "graph.localhost", served.ManagementHost
	switch r.kind {
	case set:
		return "PUT", served.VaultHost, living + version, fmt.Sprintf(`{"value":%q}`, c.value(r.value))
	case get:
		return "GET", served.VaultHost, living + version, ""
	case getVersion:
		return "GET", served.VaultHost, living + "/" + r.version + version, ""
	case update:
		return "PATCH", served.VaultHost, living + version, fmt.Sprintf(`{"contentType":%q}`, text(r.text))
	case updateVersion:
		return "PATCH", served.VaultHost, living + "/" + r.version + version, fmt.Sprintf(`{"contentType":%q}`, text(r.text))
	case remove:
		return "DELETE", served.VaultHost, living + version, ""
	case getDeleted:
		return "GET", served.VaultHost, deleted + version, ""
	case recovered:
		return "POST", served.VaultHost, deleted + "/recover" + version, ""
	case purge:
		return "DELETE", served.VaultHost, deleted + version, ""
	case list:
		return "GET", served.VaultHost, living + "/versions" + version, ""
	case grant:
		return "PUT", management, a.assignment, served.RoleAssignment(secretsOfficer, a.PrincipalID)
	case revoke:
		return "DELETE", management, a.assignment, ""
	case enable, disable:
		return "PATCH", graph, "/v1.0/servicePrincipals/" + a.PrincipalID, fmt.Sprintf(`{"accountEnabled":%t}`, r.kind == enable)
	case drop:
		return "POST", graph, "/v1.0/applications/" + a.ObjectID + "/removePassword", fmt.Sprintf(`{"keyId":%q}`, a.secrets[r.credential].KeyID)
	}
	panic("no request for " + r.kind)
}

// parse reads an answer.
func parse(k kind, status int, body []byte) (answer, error) {
	out := answer{status: status}
	if status != http.StatusOK || k.ofApplication() {
		return out, nil
	}
	if k == list {
		var page struct {
			Value    []struct{ ID string }
			NextLink *string
		}
		if err := served.Decode(body, &page); err != nil {
			return out, err
		}
		if page.NextLink != nil {
			return out, errors.New("the list has more than one page")
		}
		for _, v := range page.Value {
			out.versions = append(out.versions, afterSlash(v.ID))
		}
		return out, nil
	}
	var item struct{ ID, Value, ContentType string }
	err := served.Decode(body, &item)
	out.version, out.value, out.text = afterSlash(item.ID), item.Value, item.ContentType
	return out, err
}

func afterSlash(s string) string { return s[strings.LastIndex(s, "/")+1:] }
