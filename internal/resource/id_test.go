package resource

import (
	"strings"
	"testing"
)

const sub = "11111111-2222-4333-8444-555555555555"

func TestScopes(t *testing.T) {
	vault := VaultScope(sub, "RG1", "Vault1")
	for _, tt := range []struct {
		got  Scope
		text string
	}{
		{Root, "/"},
		{Subscription(sub), "/subscriptions/" + sub},
		{Group(sub, "RG1"), "/subscriptions/" + sub + "/resourceGroups/RG1"},
		{vault, "/subscriptions/" + sub + "/resourceGroups/RG1/providers/Microsoft.KeyVault/vaults/Vault1"},
		{vault.Object("secrets", "Db"), "/subscriptions/" + sub + "/resourceGroups/RG1/providers/Microsoft.KeyVault/vaults/Vault1/secrets/Db"},
	} {
		if tt.got.Text != tt.text || tt.got.Key() != strings.ToLower(tt.text) {
			t.Errorf("scope %q with key %q, want %q", tt.got.Text, tt.got.Key(), tt.text)
		}
		if got, ok := ParseScope(tt.text); !ok || got != tt.got {
			t.Errorf("ParseScope(%q) = %v, %v, want %v", tt.text, got, ok, tt.got)
		}
	}
}

// Covers by rbac: inheritance runs down, whole segments count, letter case does not.
func TestScopeCovers(t *testing.T) {
	const s = "/subscriptions/" + sub
	const v = s + "/resourceGroups/rg1/providers/Microsoft.KeyVault/vaults/v1"
	const group = "/providers/Microsoft.Management/managementGroups/corp"
	for _, tt := range []struct {
		above, below string
		want         bool
	}{
		{"/", "/", true},
		{"/", v + "/secrets/a", true},
		{"/", group, true},
		{group, s, true},
		{group, v + "/secrets/a", true},
		{group, "/", false},
		{group, group + "2", false},
		{group, group, true},
		{s, "/", false},
		{s, group, false},
		{s, s, true},
		{s, v, true},
		{s, "/subscriptions/" + sub + "0", false},
		{s + "/resourceGroups/rg1", s, false},
		{s + "/resourceGroups/rg1", s + "/resourceGroups/rg1", true},
		{s + "/RESOURCEGROUPS/RG1/", v, true},
		{s + "/resourceGroups/rg1", s + "/resourceGroups/rg10", false},
		{s + "/resourceGroups/rg1", s + "/resourceGroups/rg10/providers/Microsoft.KeyVault/vaults/v1", false},
		{v, v + "/secrets/a", true},
		{v, v + "0/secrets/a", false},
		{v, v + "-x", false},
		{v + "/secrets/a", v + "/secrets/a", true},
		{v + "/secrets/A", strings.ToUpper(v) + "/SECRETS/a", true},
		{v + "/secrets/a", v, false},
		{v + "/secrets/a", v + "/secrets/ab", false},
		{v + "/secrets/a", v + "/keys/a", false},
	} {
		if got := (Scope{tt.above}).Covers(Scope{tt.below}.Key()); got != tt.want {
			t.Errorf("%q covers %q: got %v, want %v", tt.above, tt.below, got, tt.want)
		}
	}
}

func TestParseScopeRefuses(t *testing.T) {
	const s = "/subscriptions/" + sub
	for _, text := range []string{
		"//", "x", "subscriptions/" + sub, "/subscriptions", "/subscriptions/short", s + "0", s + "/resourceGroups",
		s + "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/a",
		s + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/ab",
		s + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/" + strings.Repeat("a", 25),
		s + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/abc/secrets",
		s + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/abc/secrets/a/0123",
		s + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/abc/storage/a",
		s + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/abc/secrets/a_b",
		s + "/resourceGroups/" + strings.Repeat("g", 91),
		s + "/resourceGroups/a\x00b", s + "/resourceGroups/a\nb", s + "/resourceGroups/a\xffb",
		"/providers/Microsoft.Management/managementGroups/", "/providers/Microsoft.Management/managementGroups/a/b",
		"/providers/Microsoft.Management/managementGroups/a\x00",
		"/sub\u017fcriptions/" + sub, s + "/resourceGroups/rg/providers/Microsoft.\u212AeyVault/vaults/abc",
	} {
		if got, ok := ParseScope(text); ok {
			t.Errorf("ParseScope(%q) = %q, want a refusal", text, got.Text)
		}
	}
	if got, ok := ParseScope(s + "/"); !ok || got.Text != s {
		t.Errorf("ParseScope with a slash at the end = %q, %v, want %q", got.Text, ok, s)
	}
	if got, ok := ParseScope(""); !ok || got != Root {
		t.Errorf("ParseScope(\"\") = %q, %v, want the root", got.Text, ok)
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name          string
		object, vault bool
	}{
		{"", false, false},
		{"a", true, false},
		{"ab1", true, true},
		{"A-b", true, true},
		{"1ab", true, false},
		{"ab-", true, false},
		{"-ab", true, false},
		{"a--b", true, false},
		{strings.Repeat("a", 24), true, true},
		{strings.Repeat("a", 25), true, false},
		{strings.Repeat("a", 127), true, false},
		{strings.Repeat("a", 128), false, false},
		{"a_b", false, false},
		{"a.b", false, false},
		{"a b", false, false},
		{"abc\n", false, false},
		{"abcé", false, false},
		{"a/b", false, false},
	} {
		if got := IsObjectName(tt.name); got != tt.object {
			t.Errorf("IsObjectName(%q) = %v, want %v", tt.name, got, tt.object)
		}
		if got := IsVaultName(tt.name); got != tt.vault {
			t.Errorf("IsVaultName(%q) = %v, want %v", tt.name, got, tt.vault)
		}
	}
}

func TestIsGUID(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want bool
	}{
		{sub, true},
		{"AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE", true},
		{"", false},
		{sub + "\n", false},
		{"{" + sub + "}", false},
		{strings.ReplaceAll(sub, "-", ""), false},
		{"g1111111-2222-4333-8444-555555555555", false},
	} {
		if got := IsGUID(tt.in); got != tt.want {
			t.Errorf("IsGUID(%q) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

// FuzzParseScope: a scope that was read covers itself, lies below the root, reads the same again
// and is printable ASCII.
func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"", "/", "//", "/subscriptions/" + sub + "/", "/providers/Microsoft.Management/managementGroups/x"} {
		f.Add(s)
	}
	f.Add(VaultScope(sub, "rg", "vault").Object("secrets", "a").Text)
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := ParseScope(text)
		if !ok {
			return
		}
		if !s.Covers(s.Key()) || !Root.Covers(s.Key()) || s != Root && s.Covers(Root.Key()) {
			t.Errorf("ParseScope(%q) = %q, which covers wrongly", text, s.Text)
		}
		if again, ok := ParseScope(s.Text); !ok || again != s {
			t.Errorf("ParseScope(%q) = %q, read again %q, %v", text, s.Text, again.Text, ok)
		}
		if strings.ContainsFunc(s.Text, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			t.Errorf("ParseScope(%q) holds more than printable ASCII", text)
		}
	})
}
