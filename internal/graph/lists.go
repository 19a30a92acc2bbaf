package graph

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/operation"
)

// maxPage is the default and the largest number of items on a page (Graph, $top of directory
// objects).
const maxPage = 999

// A List is a page of a collection.
type List[T any] struct {
	Context  string `json:"@odata.context"`
	NextLink string `json:"@odata.nextLink,omitzero"` // absolute, with all that the next request needs
	Value    []T    `json:"value"`
}

// page sorts items by id and cuts out the page that the query asks for. The token of a next page
// is the id after which it begins: whoever may list may see it.
func page[T any](c *operation.Call, collection string, items []T, id func(T) string) (List[T], error) {
	out := List[T]{Context: c.BaseURL() + "/v1.0/$metadata#" + collection, Value: []T{}}
	limit, err := pageSize(c.Query.Get("$top"))
	if err != nil {
		return out, err
	}
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	if after := c.Query.Get("$skiptoken"); after != "" {
		items = slices.DeleteFunc(items, func(item T) bool { return id(item) <= after })
	}
	if len(items) > limit {
		items = items[:limit]
		query := url.Values{"$skiptoken": {id(items[limit-1])}, "$top": {strconv.Itoa(limit)}}
		if f := c.Query.Get("$filter"); f != "" {
			query.Set("$filter", f)
		}
		out.NextLink = c.BaseURL() + c.Path() + "?" + query.Encode()
	}
	out.Value = append(out.Value, items...)
	return out, nil
}

func pageSize(text string) (int, error) {
	if text == "" {
		return maxPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, apierr.BadRequest("Request_BadRequest", "$top: want a whole number from 1 to %d.", maxPage)
	}
	return n, nil
}

// A filter is the one comparison that a $filter may hold here; the zero one passes everything.
type filter struct{ property, value string }

var (
	equals     = regexp.MustCompile(`^\s*([A-Za-z]+)\s+eq\s+'((?:[^']|'')*)'\s*$`)
	anyElement = regexp.MustCompile(`^\s*([A-Za-z]+)/any\(\s*([a-z]+)\s*:\s*([a-z]+)\s+eq\s+'((?:[^']|'')*)'\s*\)\s*$`)
)

// parseFilter reads "property eq 'value'" and "property/any(c:c eq 'value')" of the properties
// that a collection can be searched by.
func parseFilter(text string, properties ...string) (filter, error) {
	if strings.TrimSpace(text) == "" {
		return filter{}, nil
	}
	var f filter
	if m := equals.FindStringSubmatch(text); m != nil {
		f = filter{m[1], m[2]}
	} else if m := anyElement.FindStringSubmatch(text); m != nil && m[2] == m[3] {
		f = filter{m[1] + "/any", m[4]}
	}
	f.value = strings.ReplaceAll(f.value, "''", "'")
	if !slices.Contains(properties, f.property) {
		return filter{}, apierr.BadRequest("Request_UnsupportedQuery", "Unsupported $filter. Want one comparison, property eq 'value', of %s.", strings.Join(properties, ", "))
	}
	return f, nil
}

// passes compares with the values that an object has for the filter's property. Letter case does
// not count, as in Graph.
func (f filter) passes(values map[string][]string) bool {
	if f.property == "" {
		return true
	}
	return slices.ContainsFunc(values[f.property], func(v string) bool { return strings.EqualFold(v, f.value) })
}
