package arm

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

const (
	testTenant       = "11111111-2222-4333-8444-555555555555"
	testSubscription = "99999999-2222-4333-8444-555555555555"
)

func TestDeclarations(t *testing.T) {
	table := New(Options{})
	for _, op := range table.Ops {
		if op.Access == operation.Authenticated && op.Action == "" && op.Level != operation.TenantLevel {
			t.Errorf("%s asks for no right", op.Name)
		}
		changes := op.Method == http.MethodPut || op.Method == http.MethodPatch || op.Method == http.MethodDelete ||
			slices.Contains([]string{"VaultPurge", "RootKeyChange", "VaultDataKeyRotate"}, op.Name)
		if changes != (op.Writes != 0) {
			t.Errorf("%s %s: Writes = %d, want it set: %v", op.Method, op.Name, op.Writes, changes)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	for _, tt := range []struct{ in, want string }{ // want: the code of the refusal, "" for none
		{"", "MissingApiVersionParameter"},
		{"2015-06-01", ""},
		{"2016-10-01", ""},
		{"2018-02-14-preview", ""},
		{"2026-02-01", ""},
		{"2031-01-01", ""},
		{"2015-05-31", "InvalidApiVersionParameter"},
		{"2015-06-01-preview", "InvalidApiVersionParameter"}, // before its release
		{"7.4", "InvalidApiVersionParameter"},
		{"7.6-preview", "InvalidApiVersionParameter"},
		{"1.0", "InvalidApiVersionParameter"},
		{"2024-13-01", "InvalidApiVersionParameter"},
		{"latest", "InvalidApiVersionParameter"},
	} {
		_, err := checkVersion(tt.in)
		if got := codeOf(err); got != tt.want {
			t.Errorf("checkVersion(%q): code %q, want %q", tt.in, got, tt.want)
		}
	}
}

func codeOf(err error) string {
	if e, ok := apierr.As(err); ok {
		return e.Code
	}
	return ""
}

func TestScopeOf(t *testing.T) {
	params := map[string]string{subscriptionParam: "S", groupParam: "My.Group", vaultParam: "Payroll"}
	const id = "/subscriptions/11111111-2222-4333-8444-555555555555"
	for _, tt := range []struct {
		level operation.Level
		more  map[string]string
		want  string
		place place
		bad   bool
	}{
		{level: operation.TenantLevel, want: "/"},
		{level: operation.SubscriptionLevel, want: "/subscriptions/S", place: place{subscription: "S"}},
		{level: operation.GroupLevel, want: "/subscriptions/S/resourceGroups/My.Group", place: place{"S", "My.Group", ""}},
		{level: operation.VaultLevel, want: "/subscriptions/S/resourceGroups/My.Group/providers/Microsoft.KeyVault/vaults/Payroll", place: place{"S", "My.Group", "Payroll"}},
		{level: operation.GroupLevel, more: map[string]string{identityParam: "app"}, want: "/subscriptions/S/resourceGroups/My.Group/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app", place: place{"S", "My.Group", ""}},
		{level: operation.ScopeLevel, more: map[string]string{scopeParam: "/"}, want: "/"},
		{level: operation.ScopeLevel, more: map[string]string{scopeParam: "/providers/Microsoft.Management/managementGroups/root"}, want: "/providers/Microsoft.Management/managementGroups/root"},
		{level: operation.ScopeLevel, more: map[string]string{scopeParam: id}, want: id, place: place{subscription: id[15:]}},
		{
			level: operation.ScopeLevel, more: map[string]string{scopeParam: id + "/resourcegroups/G/PROVIDERS/microsoft.keyvault/vaults/V-1/secrets/s"},
			want: id + "/resourcegroups/G/PROVIDERS/microsoft.keyvault/vaults/V-1/secrets/s", place: place{id[15:], "G", "V-1"},
		},
		{level: operation.ScopeLevel, more: map[string]string{scopeParam: "/subscriptions/S"}, bad: true},
		{level: operation.ScopeLevel, more: map[string]string{scopeParam: id + "/resourceGroups/G/providers/Microsoft.Storage/storageAccounts/a"}, bad: true},
	} {
		got, err := scopeOf(tt.level, func(name string) string {
			if v, ok := tt.more[name]; ok {
				return v
			}
			return params[name]
		})
		if (err != nil) != tt.bad || got.Text != tt.want {
			t.Errorf("scopeOf(%s, %v) = %q, %v, want %q", tt.level, tt.more, got.Text, err, tt.want)
			continue
		}
		if at := placeOf(got); err == nil && at != tt.place {
			t.Errorf("placeOf(%q) = %+v, want %+v", got.Text, at, tt.place)
		}
	}
}

// An escaped slash in a name would ask for the right at another scope than the one that is used.
func TestCheckSegments(t *testing.T) {
	for _, name := range []string{subscriptionParam, groupParam, vaultParam, locationParam, identityParam} {
		err := checkSegments(func(n string) string {
			if n == name {
				return "S/resourceGroups/mine"
			}
			return "plain"
		})
		if got := codeOf(err); got != "InvalidResourceName" {
			t.Errorf("a slash in %s: code %q, want InvalidResourceName", name, got)
		}
	}
	if err := checkSegments(func(string) string { return "plain" }); err != nil {
		t.Errorf("plain names: %v", err)
	}
}

func TestRefuse(t *testing.T) {
	f := &Face{tenant: testTenant}
	c := &operation.Call{
		Host:   resource.Host{Family: resource.NewFamily("default", "example.org", 8443)},
		Caller: identity.Caller{ObjectID: "oid-1", AppID: "app-1", Name: "deployer"},
	}
	denied := apierr.Forbidden("ForbiddenByRbac", "")
	denied.Action, denied.Scope = "Microsoft.KeyVault/vaults/write", "/subscriptions/S"
	for _, tt := range []struct {
		e             *apierr.Error
		status        int
		code, message string // message: a part of it
	}{
		{apierr.BadRequest("BadParameter", "Property has invalid value"), 400, "InvalidRequestContent", "invalid value"},
		{apierr.NotFound("ResourceGroupNotFound", "Resource group 'g' could not be found."), 404, "ResourceGroupNotFound", "'g'"},
		{apierr.Conflict("VaultAlreadyExists", "in use"), 409, "VaultAlreadyExists", "in use"},
		{apierr.New(apierr.MethodNotAllowedKind, "MethodNotAllowed", "no"), 405, "MethodNotAllowed", "no"},
		{apierr.New(apierr.TooLargeKind, "RequestBodyTooLarge", "big"), 413, "RequestBodyTooLarge", "big"},
		{apierr.New(apierr.UnavailableKind, "ServiceUnavailable", "later"), 503, "ServiceUnavailable", "later"},
		{apierr.New(apierr.InternalKind, "InternalServerError", "ours"), 500, "InternalServerError", "ours"},
		{denied, 403, "AuthorizationFailed", "The client 'app-1' with object id 'oid-1' does not have authorization to perform action 'Microsoft.KeyVault/vaults/write' over scope '/subscriptions/S' or the scope is invalid."},
	} {
		h := http.Header{}
		status, body := f.Refuse(c, tt.e, h)
		got := body.(errorBody).Error
		if status != tt.status || got.Code != tt.code || !strings.Contains(got.Message, tt.message) || len(h) != 0 {
			t.Errorf("Refuse(%v) = %d %+v, headers %v, want %d %s with %q", tt.e, status, got, h, tt.status, tt.code, tt.message)
		}
	}
	nothing, _ := apierr.As(absent("vault", "v"))
	if status, body := f.Refuse(c, nothing, http.Header{}); status != 204 || body != nil {
		t.Errorf("Refuse(nothing to delete) = %d %v, want 204 and no body", status, body)
	}
	for kind := apierr.BadRequestKind; kind <= apierr.InternalKind; kind++ {
		if statuses[kind] == 0 {
			t.Errorf("kind %d has no status", kind)
		}
	}
}

func TestBadToken(t *testing.T) {
	f := &Face{tenant: testTenant}
	c := &operation.Call{Host: resource.Host{Family: resource.NewFamily("default", "example.org", 8443)}}
	for _, tt := range []struct {
		e             *identity.TokenError
		code, message string
	}{
		{&identity.TokenError{Reason: identity.Missing}, "AuthenticationFailed", "missing"},
		{&identity.TokenError{Reason: identity.Expired}, "ExpiredAuthenticationToken", "expired"},
		{&identity.TokenError{Reason: identity.NotYetValid}, "InvalidAuthenticationToken", "not valid yet"},
		{&identity.TokenError{Reason: identity.WrongAudience, Found: `a"b`}, "InvalidAuthenticationTokenAudience", "https://management.example.org:8443/"},
		{&identity.TokenError{Reason: identity.WrongIssuer, Found: "https://x/"}, "InvalidAuthenticationTokenTenant", "https://x/"},
		{&identity.TokenError{Reason: identity.WrongTenant, Found: "other"}, "InvalidAuthenticationTokenTenant", testTenant},
		{&identity.TokenError{Reason: identity.UnknownPrincipal}, "InvalidAuthenticationToken", "disabled"},
		{&identity.TokenError{Reason: identity.BadSignature}, "InvalidAuthenticationToken", "signature"},
		{&identity.TokenError{Reason: identity.Malformed}, "InvalidAuthenticationToken", "malformed"},
	} {
		h := http.Header{}
		e := f.BadToken(c, tt.e)
		status, _ := f.Refuse(c, e, h)
		if status != 401 || e.Code != tt.code || !strings.Contains(e.Message, tt.message) {
			t.Errorf("BadToken(%v) = %d %v, want 401 %s with %q", tt.e.Reason, status, e, tt.code, tt.message)
		}
		got := h.Get("WWW-Authenticate")
		prefix := `Bearer authorization_uri="https://login.example.org:8443/` + testTenant + `", error="invalid_token", error_description="`
		if !strings.HasPrefix(got, prefix) || strings.Count(got, `"`) != 6 {
			t.Errorf("challenge for %v = %s, want it to begin with %s and to hold six quotes", tt.e.Reason, got, prefix)
		}
	}
}

func TestStamp(t *testing.T) {
	at := time.Date(2026, 1, 5, 1, 32, 1, 269122000, time.UTC)
	if got, want := stamp(at), "2026-01-05T01:32:01.2691220Z"; got != want {
		t.Errorf("stamp = %q, want %q", got, want)
	}
}

func TestPageSize(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int // 0 is a refusal
	}{
		{"", defaultPage},
		{"1", 1},
		{"1000", maxPage},
		{"0", 0},
		{"1001", 0},
		{"-1", 0},
		{"many", 0},
	} {
		if got, err := pageSize(tt.in); got != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("pageSize(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}
