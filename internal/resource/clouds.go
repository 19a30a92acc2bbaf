package resource

import "slices"

// clouds are the name families of Azure's clouds, the public one first: the hosts that Microsoft's client
// libraries have built in (cloud.AzurePublic and its siblings in azcore, AzureAuthorityHosts elsewhere,
// and the clouds of az), with the aliases that instance discovery tells of each.
var clouds = Families{
	{
		Name: "azure", VaultSuffix: "vault.azure.net", Login: "login.microsoftonline.com", Management: "management.azure.com",
		Graph: "graph.microsoft.com", Port: 443, STS: "sts.windows.net",
		LoginAliases: [3]string{"login.windows.net", "login.microsoft.com", "sts.windows.net"},
	},
	{
		Name: "azure-china", VaultSuffix: "vault.azure.cn", Login: "login.chinacloudapi.cn", Management: "management.chinacloudapi.cn",
		Graph: "microsoftgraph.chinacloudapi.cn", Port: 443, STS: "sts.chinacloudapi.cn",
		LoginAliases: [3]string{"login.partner.microsoftonline.cn"},
	},
	{
		Name: "azure-us-government", VaultSuffix: "vault.usgovcloudapi.net", Login: "login.microsoftonline.us", Management: "management.usgovcloudapi.net",
		Graph: "graph.microsoft.us", Port: 443,
		LoginAliases: [3]string{"login.usgovcloudapi.net"},
	},
}

// Clouds are the families of Azure's own names. Nobody but the program under a run may be answered by
// them, or who has pointed them here with a certificate of his own.
func Clouds() Families { return slices.Clone(clouds) }

// IsCloud says whether a family is one of Clouds.
func IsCloud(f Family) bool {
	return slices.ContainsFunc(clouds, func(c Family) bool { return c.Name == f.Name && c.VaultSuffix == f.VaultSuffix })
}

// azureDomains are the domains under which Microsoft runs its services.
var azureDomains = []string{
	"azure.com", "azure.net", "windows.net", "microsoftonline.com", "azurewebsites.net", "azure-api.net",
	"azurecr.io", "azureedge.net", "azurefd.net", "azure-devices.net", "azmk8s.io", "visualstudio.com",
	"azure.cn", "chinacloudapi.cn", "windowsazure.cn", "microsoftonline.cn",
	"azure.us", "usgovcloudapi.net", "microsoftonline.us",
}

// IsAzure says whether a host name in lower case is one of Azure's services.
func IsAzure(name string) bool {
	return slices.ContainsFunc(azureDomains, func(domain string) bool { return name == domain || isBelow(name, domain) })
}

func isBelow(name, domain string) bool {
	n := len(name) - len(domain) - 1
	return n > 0 && name[n] == '.' && name[n+1:] == domain
}
