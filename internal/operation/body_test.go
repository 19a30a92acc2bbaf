package operation

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
)

// A body has members of every kind that bodies have.
type body struct {
	Value      string `json:"value"`
	Tags       *Tags  `json:"tags"`
	Attributes *struct {
		Enabled *bool `json:"enabled"`
	} `json:"attributes"`
	List []struct {
		Name string `json:"name"`
	} `json:"list"`
}

// What a caller wrote where a name belongs may be a value: it is not repeated.
func TestFaultsOfBodiesAreInOurNames(t *testing.T) {
	for in, want := range map[string]string{
		`{"value":1}`:                          `"/value" has`,
		`{"VALUE":1}`:                          `"/value" has`,
		`{"attributes":{"enabled":"s3cret"}}`:  `"/attributes/enabled" has`,
		`{"list":[{"name":"x"},{"name":1}]}`:   `"/list/1/name" has`,
		`{"value":"x","value":"s3cret"}`:       `"/value" stands twice`,
		`{"s3cret":1,"s3cret":2}`:              `"/…" stands twice`,
		`{"s3cret":{"a":1,"a":2}}`:             `"/…/…" stands twice`,
		`{"ignored":1,"ignored":2}`:            `"/…" stands twice`,
		`{"tags":{"s3cret":1}}`:                `"/tags/…" has`,
		`{"tags":{"s3cret":"1","s3cret":"2"}}`: `"/tags/…" stands twice`,
	} {
		var to body
		err := json.Unmarshal([]byte(in), &to, json.MatchCaseInsensitiveNames(true))
		got := describe(err, reflect.TypeFor[body]())
		if err == nil || !strings.Contains(got.Error(), want) || strings.Contains(got.Error(), "s3cret") {
			t.Errorf("%s: got %v, want %s and nothing of the caller's", in, got, want)
		}
	}
}

func decodeText[In any](text string) (In, error) {
	c := &Call{Op: &Bound{Op: Op{MaxBody: 1000}}, request: &Request{Body: strings.NewReader(text)}}
	return decode[In](c)
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"value":"x","tags":{"a":"b"},"attributes":{"enabled":true}}`, `null`, ` null `, `{"value":"\ud800"}`, `{"a":1,"a":2}`,
		`{"tags":{"a":null}}`, `[`, "\xef\xbb\xbf{}", `{"list":[{"name":1e400}]}`, strings.Repeat("[", 2000),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := decodeText[body](text)
		if refusal, ok := apierr.As(err); err != nil && (!ok || refusal.Kind != apierr.BadRequestKind && refusal.Kind != apierr.TooLargeKind) {
			t.Errorf("decode(%q) = %v, want a refusal", text, err)
		}
		if err == nil && strings.TrimSpace(text) == "null" {
			t.Errorf("decode(%q) took null for an object", text)
		}
	})
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"a=b", "a=%zz", "a=b;c=d", "=&&=", "%00=%ff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		form, err := decodeText[Form](text)
		want, wrong := url.ParseQuery(text)
		if len(text) <= 1000 && (err == nil) != (wrong == nil) || err == nil && !reflect.DeepEqual(url.Values(form), want) {
			t.Errorf("decode(%q) = %v, %v, want %v, %v", text, form, err, want, wrong)
		}
	})
}

func FuzzParseQuery(f *testing.F) {
	for _, seed := range []string{"api-version=7.6", "API%2Dversion=7.6&api-version=7.5", "a;b", "%zz", "$skiptoken=x&$SKIPTOKEN=y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		c := &Call{request: &Request{Query: query}}
		if err := c.parseQuery(); err != nil {
			if _, ok := apierr.As(err); !ok {
				t.Errorf("parseQuery(%q) = %v, want a refusal", query, err)
			}
			return
		}
		for name, values := range c.Query {
			if name != strings.ToLower(name) || slices.Contains(singleParameters, name) && len(values) > 1 {
				t.Errorf("parseQuery(%q): %q has %d values", query, name, len(values))
			}
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, seed := range []string{"7.6", "2025-07-01", "2025-07-01-preview.1", "1.0", "2025-02-30", "-1", "99.99"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if err == nil && (v.Text != text || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })) {
			t.Errorf("ParseVersion(%q) = %+v: want it to hold plain text alone", text, v)
		}
	})
}
