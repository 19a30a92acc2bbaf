package arm

import (
	"reflect"
	"testing"

	"strongroom/internal/authz"
)

func TestParseFilter(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []term
		bad  bool
	}{
		{in: ""},
		{in: "atScope()", want: []term{{name: "atScope", call: true}}},
		{in: " atScope( ) AND assignedTo('a''b') ", want: []term{{name: "atScope", call: true}, {name: "assignedTo", value: "a'b", call: true}}},
		{in: "principalId eq 'x'", want: []term{{name: "principalId", value: "x"}}},
		{in: "roleName EQ 'Key Vault Reader and more'", want: []term{{name: "roleName", value: "Key Vault Reader and more"}}},
		{in: "resourceType eq 'Microsoft.KeyVault/vaults' and name eq 'v'", want: []term{{name: "resourceType", value: "Microsoft.KeyVault/vaults"}, {name: "name", value: "v"}}},
		{in: "a eq 'x' or b eq 'y'", bad: true},
		{in: "a eq 'x' and", bad: true},
		{in: "a eq 'x' and ", bad: true},
		{in: "a eq x", bad: true},
		{in: "a eq 'x", bad: true},
		{in: "a ne 'x'", bad: true},
		{in: "a eq'x'", bad: true},
		{in: "atScope(", bad: true},
		{in: "atScope", bad: true},
		{in: "f('x'", bad: true},
		{in: "f(x)", bad: true},
		{in: "substringof('a', name)", bad: true},
		{in: "()", bad: true},
		{in: "'x'", bad: true},
		{in: "a eq 'x' b eq 'y'", bad: true},
	} {
		got, err := parseFilter(tt.in)
		if (err != nil) != tt.bad || !tt.bad && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("parseFilter(%q) = %v, %v, want %v, error %v", tt.in, got, err, tt.want, tt.bad)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, seed := range []string{"atScope()", "principalId eq 'x'", "a eq '", "f('x') and ", "and and and"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		terms, err := parseFilter(s)
		if err != nil && len(terms) > 0 {
			t.Errorf("parseFilter(%q) = %v and an error", s, terms)
		}
	})
}

func TestAssignmentFilter(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want authz.Filter
		bad  bool
	}{
		{in: ""},
		{in: "atScope()", want: authz.Filter{AtScope: true}},
		{in: "principalid eq 'p'", want: authz.Filter{Principal: "p"}},
		{in: "atScope() and assignedTo('p')", want: authz.Filter{AtScope: true, AssignedTo: "p"}},
		{in: "atScope('x')", bad: true},
		{in: "assignedTo()", bad: true},
		{in: "principalId('p')", bad: true},
		{in: "roleName eq 'x'", bad: true}, // an unknown condition must not widen the list
	} {
		got, err := parseAssignmentFilter(tt.in)
		if (err != nil) != tt.bad || got != tt.want {
			t.Errorf("parseAssignmentFilter(%q) = %+v, %v, want %+v, error %v", tt.in, got, err, tt.want, tt.bad)
		}
	}
}

func TestResourceFilter(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want resourceFilter
		bad  bool
	}{
		{in: "resourceType eq 'Microsoft.KeyVault/vaults' and name eq 'v'", want: resourceFilter{kind: "Microsoft.KeyVault/vaults", name: "v"}},
		{in: "resourceGroup eq 'rg'", want: resourceFilter{group: "rg"}},
		{in: "tagName eq 'a'", bad: true},
	} {
		got, err := parseResourceFilter(tt.in)
		if (err != nil) != tt.bad || got != tt.want {
			t.Errorf("parseResourceFilter(%q) = %+v, %v, want %+v, error %v", tt.in, got, err, tt.want, tt.bad)
		}
	}
}

func TestRoleFilter(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int // number of roles; -1 is all
		bad  bool
	}{
		{in: "", want: -1},
		{in: "roleName eq 'key vault secrets user'", want: 1},
		{in: "roleName eq 'Nobody'", want: 0},
		{in: "type eq 'BuiltInRole'", want: -1},
		{in: "type eq 'CustomRole'", want: 0},
		{in: "atScopeAndBelow() and roleName eq 'Owner'", want: 1},
		{in: "description eq 'x'", bad: true},
	} {
		match, err := parseRoleFilter(tt.in)
		if (err != nil) != tt.bad {
			t.Errorf("parseRoleFilter(%q): error %v, want %v", tt.in, err, tt.bad)
		}
		if err != nil {
			continue
		}
		got := 0
		for i := range authz.BuiltIn {
			if match(&authz.BuiltIn[i]) {
				got++
			}
		}
		if want := tt.want; got != want && (want != -1 || got != len(authz.BuiltIn)) {
			t.Errorf("parseRoleFilter(%q) matches %d roles, want %d", tt.in, got, want)
		}
	}
}
