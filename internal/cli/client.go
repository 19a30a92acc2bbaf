package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	requestTimeout = 2 * time.Minute
	maxAnswer      = 64 << 20
	maxPages       = 100_000 // a list that goes on longer than this is a loop
)

// errNotJSON leaves out what was found, which may hold a secret.
var errNotJSON = errors.New("the server's answer is not the JSON that was expected; is it Strongroom?")

// An about says which hosts a server answers for, and its first tenant, subscription and group.
// Hosts carry their port where it is not 443. Over HTTPS some members are not known: then they
// are "".
type about struct {
	Tenant         string `json:"tenant"`
	Subscription   string `json:"subscription"`
	Group          string `json:"group"`
	ManagementHost string `json:"managementHost"`
	GraphHost      string `json:"graphHost"`
	LoginHost      string `json:"loginHost"`
	VaultSuffix    string `json:"vaultSuffix"`
	RunVaultSuffix string `json:"runVaultSuffix"`
	Listen         string `json:"listen"`
	CAFile         string `json:"caFile"`
	Version        string `json:"version"`
	Region         string `json:"region"`
	AuditKeys      string `json:"auditKeys"`
}

// A client sends requests to the faces of one server. It follows no redirects: a token and a
// body go to the host that they were meant for, or nowhere.
type client struct {
	about
	http   *http.Client
	scheme string
	// token is nil where the connection itself says who asks. It is asked once for each request.
	token func(ctx context.Context, resource string) (string, error)
}

// A place is a face of the server: its host, and the resource that tokens for it name.
type place struct{ host, resource string }

func (c *client) management() place {
	return place{c.ManagementHost, "https://" + c.ManagementHost}
}

func (c *client) graph() place { return place{c.GraphHost, "https://" + c.GraphHost} }

func (c *client) login() place { return place{host: c.LoginHost} }

func (c *client) vault(name string) place {
	return place{name + "." + c.VaultSuffix, "https://" + c.VaultSuffix}
}

// newHTTPClient makes the client that every request goes through.
func newHTTPClient(t http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: t, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// do sends one request, with body as JSON unless it is nil, and returns the answer's JSON, nil
// if there is none. A refusal is a *refusal.
func (c *client) do(ctx context.Context, to place, method, pathAndQuery string, body any) (jsontext.Value, error) {
	req, err := newRequest(ctx, method, c.scheme+"://"+to.host+pathAndQuery, body)
	if err != nil {
		return nil, err
	}
	if c.token != nil && to.resource != "" {
		token, err := c.token(ctx, to.resource)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return send(c.http, req)
}

func newRequest(ctx context.Context, method, address string, body any) (*http.Request, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body, json.Deterministic(true))
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", withoutText(err))
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, r)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "strongroom-cli")
	return req, nil
}

// withoutText keeps the place of a JSON error and drops the text around it, which may be a
// secret value.
func withoutText(err error) error {
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("member %q is no text in UTF-8", string(e.JSONPointer))
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("member %q is no text in UTF-8", string(e.JSONPointer))
	}
	return errors.New("no JSON")
}

func send(h *http.Client, req *http.Request) (jsontext.Value, error) {
	resp, err := h.Do(req)
	if err != nil {
		return nil, unreachable(req, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("the answer of %s is over %d bytes", req.URL.Host, maxAnswer)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, newRefusal(resp.StatusCode, b)
	case len(b) == 0:
		return nil, nil
	case !jsontext.Value(b).IsValid():
		return nil, errNotJSON
	}
	return b, nil
}

// unreachable says which server did not answer; the URL's query stays out.
func unreachable(req *http.Request, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	hint := ""
	if _, untrusted := errors.AsType[x509.UnknownAuthorityError](err); untrusted {
		hint = "--ca names the authority to trust; a server's own is ca.pem in its data folder"
	}
	return failed(hint, "ask %s: %w", req.URL.Host, err)
}

// get is do for reading into a Go value.
func (c *client) get(ctx context.Context, to place, pathAndQuery string, answer any) error {
	return c.ask(ctx, to, http.MethodGet, pathAndQuery, nil, answer)
}

// ask is do with the answer read into a Go value.
func (c *client) ask(ctx context.Context, to place, method, pathAndQuery string, body, answer any) error {
	v, err := c.do(ctx, to, method, pathAndQuery, body)
	if err != nil {
		return err
	}
	if json.Unmarshal(v, answer) != nil {
		return errNotJSON
	}
	return nil
}

// list reads all pages of a list.
func (c *client) list(ctx context.Context, to place, pathAndQuery string) (items []jsontext.Value, err error) {
	for range maxPages {
		var page struct {
			Value     []jsontext.Value `json:"value"`
			NextLink  string           `json:"nextLink"`
			ODataNext string           `json:"@odata.nextLink"`
		}
		if err := c.get(ctx, to, pathAndQuery, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Value...)
		link := page.NextLink + page.ODataNext
		if link == "" {
			return items, nil
		}
		if pathAndQuery, err = follow(to, link); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the list does not end")
}

// follow takes the path and query of a link, which must lead to where the list came from: the
// token goes with it.
func follow(to place, link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil || !strings.EqualFold(u.Host, to.host) {
		return "", fmt.Errorf("the next page of the list is not at %s", to.host)
	}
	return u.RequestURI(), nil
}
