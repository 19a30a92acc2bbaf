package identity

import (
	"testing"

	"strongroom/internal/resource"
)

func TestAudiences(t *testing.T) {
	public := resource.Family{
		Name: "public", VaultSuffix: "vault.azure.net", Login: "login.microsoftonline.com",
		Management: "management.azure.com", Graph: "graph.microsoft.com", Port: 443,
	}
	for _, tt := range []struct {
		name   string
		accept func(string) bool
		yes    []string
		no     []string
	}{
		{
			"vault", VaultAudience(family, "vault.example.org:9443"),
			[]string{
				"https://vault.example.org", "https://vault.example.org/", "https://vault.example.org:8443",
				"https://vault.example.org:9443/", "HTTPS://Vault.Example.ORG",
			},
			[]string{
				"", "vault.example.org", "http://vault.example.org", "https://vault.example.org:443", "https://vault.example.org//",
				"https://a.vault.example.org", "https://vault.example.org.evil.org", "https://vault.example.org:", "https://vault.example.net",
				"https://vault.example.org/x", "https://user@vault.example.org", "https://vault.example.org?x", " https://vault.example.org",
				"https://vault.example.org\n", "https://management.example.org", "https://vault.azure.net",
			},
		},
		{
			"vault without a port", VaultAudience(public, "vault.azure.net"),
			[]string{"https://vault.azure.net", "https://vault.azure.net:443/"},
			[]string{"https://vault.azure.net:8443", "https://vault.example.org"},
		},
		{
			"management", ManagementAudience(family),
			[]string{
				"https://management.example.org:8443", "https://management.example.org/", "https://management.core.windows.net/",
				"https://management.core.windows.net", "https://management.azure.com", "https://management.azure.com/",
			},
			[]string{"https://management.azure.com:443", "https://vault.example.org", "https://graph.microsoft.com", "https://management.example.org:1"},
		},
		{
			"graph", GraphAudience(family),
			[]string{"https://graph.example.org", "https://graph.example.org:8443/", "https://graph.microsoft.com", "https://graph.microsoft.com/"},
			[]string{"https://management.azure.com", "https://graph.example.net"},
		},
	} {
		for _, aud := range tt.yes {
			if !tt.accept(aud) {
				t.Errorf("%s refuses %q", tt.name, aud)
			}
		}
		for _, aud := range tt.no {
			if tt.accept(aud) {
				t.Errorf("%s accepts %q", tt.name, aud)
			}
		}
	}
}

func TestResourceFamily(t *testing.T) {
	for _, tt := range []struct{ asked, want string }{ // want: a family's name, "" for refused
		{"https://vault.example.org", "default"},
		{"https://vault.example.org:9443", "default"},
		{"https://vault.example.net/", "other"},
		{"https://management.example.net", "other"},
		{"https://graph.example.org:8443", "default"},
		{"https://management.core.windows.net/", "other"},
		{"https://graph.microsoft.com", "other"},
		{"https://vault.azure.net", ""},
		{"https://dev.vault.example.org", ""},
		{"https://login.example.org", ""},
		{"https://management.azure.com:444", ""},
		{"https://vault.example.org/.default", ""},
		{"https://vault.\u212aexample.org", ""},
		{"cfa8b339-82a2-471a-a3c9-0fc0be7a4093", ""},
		{"", ""},
	} {
		audience, f, ok := ResourceFamily(families, tt.asked, other)
		if f.Name != tt.want || ok != (tt.want != "") || ok && audience != tt.asked {
			t.Errorf("ResourceFamily(%q) = %q, %q, %v, want family %q", tt.asked, audience, f.Name, ok, tt.want)
		}
	}
}
