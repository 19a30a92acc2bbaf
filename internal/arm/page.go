package arm

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/operation"
	"strongroom/internal/vaults"
)

// A List is one page of a collection.
type List[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitempty"` // absolute; absent on the last page
}

// Page sizes: what a caller gets who does not say $top, and the largest page.
const (
	defaultPage = 100
	maxPage     = 1000
)

// A page is what a list request asks for.
type page struct {
	limit int
	after string // the key of the last item of the page before, or ""
}

// domain is the page with one item more than asked for, which tells whether there is another.
func (p page) domain() vaults.Page { return vaults.Page{After: p.after, Limit: p.limit + 1} }

// readPage reads $top and $skiptoken.
func (f *Face) readPage(c *operation.Call) (page, error) {
	limit, err := pageSize(c.Query.Get("$top"))
	if err != nil {
		return page{}, err
	}
	p := page{limit: limit}
	text := c.Query.Get("$skiptoken")
	if text == "" {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return page{}, badSkipToken()
	}
	after, err := f.skip.OpenToken(tokenPurpose(c), raw)
	if err != nil {
		return page{}, badSkipToken()
	}
	p.after = string(after)
	return p, nil
}

func badSkipToken() error {
	return apierr.BadRequest("InvalidSkipToken", "The $skiptoken is not valid here; want the one of a nextLink of this list.")
}

func pageSize(top string) (int, error) {
	if top == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(top)
	if err != nil || n < 1 || n > maxPage {
		return 0, apierr.BadRequest("InvalidTopInQueryString", "$top: want a whole number from 1 to %d.", maxPage)
	}
	return n, nil
}

// tokenPurpose binds a skip token to its format, the operation, the scope and the filter.
func tokenPurpose(c *operation.Call) string {
	return strings.Join([]string{"management skip token 1", c.Op.Name, c.Scope.Key(), c.Query.Get("$filter")}, "\x00")
}

// nextLink is absolute and holds all that the next request needs; clients follow it literally.
func (f *Face) nextLink(c *operation.Call, after string) string {
	token := base64.RawURLEncoding.EncodeToString(f.skip.Token(tokenPurpose(c), []byte(after)))
	link := url.URL{Path: c.Path()}
	q := "?api-version=" + url.QueryEscape(c.Version.Text) + "&$skiptoken=" + token
	for _, name := range []string{"$top", "$filter"} {
		if v := c.Query.Get(name); v != "" {
			q += "&" + name + "=" + url.QueryEscape(v)
		}
	}
	return c.BaseURL() + link.EscapedPath() + q
}

// paged cuts the surplus item off and turns vaults into their wire form.
func paged[T any](f *Face, c *operation.Call, p page, found []vaults.Vault, wire func(vaults.Vault) T) List[T] {
	var next string
	if len(found) > p.limit {
		found = found[:p.limit]
		next = f.nextLink(c, strings.ToLower(found[p.limit-1].Name))
	}
	return List[T]{Value: convert(found, wire), NextLink: next}
}

func convert[T, W any](items []T, wire func(T) W) []W {
	out := make([]W, len(items))
	for i, item := range items {
		out[i] = wire(item)
	}
	return out
}
