package resource

import "testing"

// TestClouds holds the names against those of cloud.AzurePublic, AzureChina and AzureGovernment of
// azcore, of AzureAuthorityHosts, and of the clouds of az.
func TestClouds(t *testing.T) {
	for _, tt := range []struct {
		host, family string
		face         FaceName
		vault        string
	}{
		{"contoso-payroll.vault.azure.net", "azure", Vault, "contoso-payroll"},
		{"CONTOSO.Vault.Azure.NET:443", "azure", Vault, "CONTOSO"},
		{"login.microsoftonline.com", "azure", Login, ""},
		{"login.windows.net", "azure", Login, ""},
		{"login.microsoft.com", "azure", Login, ""},
		{"sts.windows.net", "azure", Login, ""},
		{"westus2.login.microsoft.com", "azure", Login, ""},
		{"westus2.login.microsoftonline.com", "azure", Login, ""},
		{"management.azure.com", "azure", Management, ""},
		{"graph.microsoft.com", "azure", Graph, ""},
		{"contoso.vault.azure.cn", "azure-china", Vault, "contoso"},
		{"login.chinacloudapi.cn", "azure-china", Login, ""},
		{"login.partner.microsoftonline.cn", "azure-china", Login, ""},
		{"management.chinacloudapi.cn", "azure-china", Management, ""},
		{"contoso.vault.usgovcloudapi.net", "azure-us-government", Vault, "contoso"},
		{"login.microsoftonline.us", "azure-us-government", Login, ""},
		{"management.usgovcloudapi.net", "azure-us-government", Management, ""},
		{"graph.microsoft.us", "azure-us-government", Graph, ""},
		{"vault.azure.net", "", "", ""},
		{"a.b.vault.azure.net", "", "", ""},
		{"contoso.blob.core.windows.net", "", "", ""},
		{"login.microsoftonline.com.example.org", "", "", ""},
	} {
		host, ok := Clouds().Resolve(tt.host)
		if ok != (tt.family != "") || host.Family.Name != tt.family || host.Face != tt.face || host.Vault != tt.vault {
			t.Errorf("Resolve(%q) = %s %s %q, %v, want %s %s %q", tt.host, host.Family.Name, host.Face, host.Vault, ok, tt.family, tt.face, tt.vault)
		}
	}
	for _, f := range Clouds() {
		if err := f.Check(); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

func TestIsAzure(t *testing.T) {
	for name, want := range map[string]bool{
		"store.blob.core.windows.net": true, "management.azure.com": true, "dev.azure.com": true, "contoso.azurewebsites.net": true,
		"store.blob.core.chinacloudapi.cn": true, "azure.com": true,
		"example.com": false, "notazure.com": false, "azure.com.example.org": false, "": false, ".azure.com": false,
	} {
		if got := IsAzure(name); got != want {
			t.Errorf("IsAzure(%q) = %v, want %v", name, got, want)
		}
	}
}
