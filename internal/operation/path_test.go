package operation

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{"/secrets/a", []string{"secrets", "a"}},
		{"//secrets//a//", []string{"secrets", "a"}},
		{"/secrets/a/%2F", []string{"secrets", "a"}},
		{"/secrets/a%2Fb", []string{"secrets", "a/b"}},
		{"/secrets/../x", []string{"secrets", "..", "x"}},
		{"/", nil},
		{"", nil},
	} {
		got, err := canonical(tt.in)
		if err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("canonical(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
	if _, err := canonical("/a/%zz"); err == nil {
		t.Error("canonical takes a bad escape")
	}
}

func TestFind(t *testing.T) {
	var r routes
	for _, path := range []string{
		"/secrets/{name}/{version?}", "/secrets/{name}/versions", "/secrets", "/secrets/restore",
		"/certificates/issuers/{issuer}", "/certificates/{name}/policy",
		"/{scope...}/providers/Microsoft.Authorization/roleAssignments/{id}",
		"/subscriptions/{s}/resourceGroups/{g}",
	} {
		p, err := parsePattern(path)
		if err != nil {
			t.Fatal(err)
		}
		r.add(&Bound{Op: Op{Name: path, Method: "GET"}, pattern: p})
	}
	for _, tt := range []struct{ in, want, params string }{
		{"/secrets", "/secrets", ""},
		{"/secrets/a", "/secrets/{name}/{version?}", "name=a"},
		{"/SECRETS/a/B", "/secrets/{name}/{version?}", "name=a version=B"},
		{"/secrets/a/versions", "/secrets/{name}/versions", "name=a"},
		{"/secrets/restore", "/secrets/restore", ""},
		{"/secrets/restore/x", "/secrets/{name}/{version?}", "name=restore version=x"},
		{"/certificates/issuers/policy", "/certificates/issuers/{issuer}", "issuer=policy"},
		{"/certificates/a/policy", "/certificates/{name}/policy", "name=a"},
		{"/subscriptions/1/resourcegroups/G", "/subscriptions/{s}/resourceGroups/{g}", "g=G s=1"},
		{"/subscriptions/1/providers/microsoft.authorization/roleassignments/9", "/{scope...}/providers/Microsoft.Authorization/roleAssignments/{id}", "id=9 scope=/subscriptions/1"},
		{"/providers/Microsoft.Authorization/roleAssignments/9", "/{scope...}/providers/Microsoft.Authorization/roleAssignments/{id}", "id=9 scope=/"},
		{"/secrets/a/b/c", "", ""},
		{"/nothing", "", ""},
	} {
		segments, err := canonical(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		b, params, _ := r.find("GET", segments)
		got := ""
		if b != nil {
			got = b.Name
		}
		if got != tt.want || printParams(params) != tt.params {
			t.Errorf("find(%q) = %q with %q, want %q with %q", tt.in, got, printParams(params), tt.want, tt.params)
		}
	}
	segments, _ := canonical("/secrets/a")
	if b, _, allow := r.find("POST", segments); b != nil || len(allow) != 1 {
		t.Errorf("find with another method = %v, %q", b, allow)
	}
}

func printParams(params map[string]string) string {
	var out []string
	for _, name := range []string{"g", "id", "issuer", "name", "s", "scope", "version"} {
		if v := params[name]; v != "" {
			out = append(out, name+"="+v)
		}
	}
	return strings.Join(out, " ")
}

func TestHandleRefusesAmbiguousDeclarations(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"/secrets/{a}", "/secrets/{b}", true},
		{"/secrets/{a}/{b?}", "/secrets/{c}", true},
		{"/Secrets/x", "/secrets/X", true},
		{"/{s...}/providers/x", "/{t...}/providers/x", true},
		{"/secrets/{a}", "/secrets/restore", false},
		{"/secrets/{a}/versions", "/secrets/{a}/{b?}", false},
		{"/secrets", "/secrets/{a}", false},
		{"/a/{x}/c", "/{s...}/c", false},
	} {
		got := declare(tt.a, tt.b)
		if (got != "") != tt.want {
			t.Errorf("%q and %q: panic %q, want one: %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func declare(paths ...string) (panicked string) {
	defer func() {
		if r := recover(); r != nil {
			panicked = r.(string)
		}
	}()
	t := &Table{}
	for i, path := range paths {
		op := Op{Name: string(rune('A' + i)), Method: "GET", Path: path, Level: VaultLevel, Summary: "s"}
		Handle(t, op, func(context.Context, *Call, None) (None, error) { return None{}, nil })
	}
	return ""
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"/secrets/a", "//", "/%2F", "/a%2fb/..", "/%00", "/\xff"} {
		f.Add(s)
	}
	p, err := parsePattern("/secrets/{name}/{version?}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		segments, err := canonical(path)
		if err != nil {
			return
		}
		for _, s := range segments {
			if strings.Trim(s, "/") == "" {
				t.Errorf("canonical(%q) kept an empty segment", path)
			}
		}
		if p.match(segments) {
			p.params(segments)
		}
	})
}
