package cli

import (
	"slices"
	"strings"
)

// runFacts is what the environment of a run's child is made of.
type runFacts struct {
	runGrant
	secret string // of the identity endpoint, this run's own
	vault  string
	proxy  string
	files  runFiles
}

// cleared are variables that would lead an SDK past the identity of the run, or to the sign-in
// of another cloud: each names another protocol, and which one a library prefers differs.
var cleared = []string{
	"IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
	"AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH",
	"AZURE_USERNAME", "AZURE_PASSWORD", "AZURE_AUTHORITY_HOST", "AZURE_REGIONAL_AUTHORITY_NAME",
}

// runEnviron is the child's environment: what we were given, without the cleared variables, and
// with those that lead to the server.
func runEnviron(environ []string, f runFacts) []string {
	set := f.variables()
	drop := slices.Clone(cleared)
	// AZURE_CLIENT_ID alone selects a managed identity. One that is not the run's would be
	// refused, and the tenant beside it belongs to the same sign-in.
	if !strings.EqualFold(lookup(environ, "AZURE_CLIENT_ID"), f.ClientID) {
		drop = append(drop, "AZURE_CLIENT_ID", "AZURE_TENANT_ID")
	}
	for _, v := range set {
		drop = append(drop, v[0])
	}
	var out []string
	for _, entry := range environ {
		if name, _, _ := strings.Cut(entry, "="); !slices.Contains(drop, name) {
			out = append(out, entry)
		}
	}
	for _, v := range set {
		out = append(out, v[0]+"="+v[1])
	}
	return out
}

// variables are names and values, by the client that reads them.
func (f runFacts) variables() [][2]string {
	vaultURL := "https://" + f.vault + "." + f.VaultSuffix
	imdsToken := f.IMDSEndpoint + "/metadata/identity/oauth2/token"
	const direct = "127.0.0.1,localhost,::1"
	vars := [][2]string{
		// every SDK: managed identity as in App Service, and no other credential
		{"IDENTITY_ENDPOINT", f.IdentityEndpoint},
		{"IDENTITY_HEADER", f.secret},
		{"AZURE_TOKEN_CREDENTIALS", "prod"},
		// every program: our names through the proxy
		{"HTTPS_PROXY", f.proxy},
		{"https_proxy", f.proxy},
		{"HTTP_PROXY", f.proxy},
		{"http_proxy", f.proxy},
		{"NO_PROXY", direct},
		{"no_proxy", direct},
		// the program itself, under the names that are usual
		{"AZURE_KEYVAULT_URL", vaultURL},
		{"AZURE_KEY_VAULT_URL", vaultURL},
		{"KEY_VAULT_URL", vaultURL},
		{"VAULT_URL", vaultURL},
		{"AZURE_KEY_VAULT_NAME", f.vault},
		{"KEY_VAULT_NAME", f.vault},
		// JS, Python and .NET, older releases
		{"AZURE_POD_IDENTITY_AUTHORITY_HOST", f.IMDSEndpoint},
		// az
		{"AZURE_CORE_INSTANCE_DISCOVERY", "false"},
		{"MSAL_MANAGED_IDENTITY_ENDPOINT", imdsToken},
		{"AZURE_CONFIG_DIR", f.files.azure},
		// Terraform, OpenTofu
		{"ARM_METADATA_HOSTNAME", f.ManagementHost},
		{"ARM_USE_MSI", "true"},
		{"ARM_MSI_ENDPOINT", imdsToken},
		{"ARM_TENANT_ID", f.Tenant},
		{"ARM_SUBSCRIPTION_ID", f.Subscription},
		{"ARM_RESOURCE_PROVIDER_REGISTRATIONS", "none"},
	}
	if f.files.bundle == "" {
		return vars // the server's certificate needs no authority of ours
	}
	return append(vars, [][2]string{
		{"SSL_CERT_FILE", f.files.bundle},      // Go, .NET, Rust, asynchronous Python
		{"REQUESTS_CA_BUNDLE", f.files.bundle}, // Python, az
		{"NODE_EXTRA_CA_CERTS", f.files.own},
	}...)
}
