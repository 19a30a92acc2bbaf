package cli

import (
	"net/url"
	"slices"
	"strings"
)

// runFacts is what the environment of a run's child is made of.
type runFacts struct {
	runGrant
	vault      string
	vaultNamed bool // the vault was named: it counts for more than what the user's variables say
	ownSignIn  bool // the program signs in by its own variables
	files      runFiles
}

// managedVariables lead an SDK to a managed identity: each names another protocol, and which one a
// library prefers differs.
var managedVariables = []string{
	"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
	"AZURE_POD_IDENTITY_AUTHORITY_HOST", "AZURE_POD_IDENTITY_TOKEN_URL", "MSAL_MANAGED_IDENTITY_ENDPOINT",
}

// signInVariables lead an SDK to a sign-in of the program's own.
var signInVariables = []string{
	"AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
	"AZURE_USERNAME", "AZURE_PASSWORD", "AZURE_AUTHORITY_HOST",
}

// clearedAlways would lead to a sign-in host that no family has.
var clearedAlways = []string{"AZURE_REGIONAL_AUTHORITY_NAME"}

// bundleVariables name a file of authorities, and all are set to the run's: each has a tool that
// prefers it to SSL_CERT_FILE, so that one the user has set would lead past the run's authority.
var bundleVariables = []string{
	"SSL_CERT_FILE",      // OpenSSL, Go, .NET, Rust, asynchronous Python
	"REQUESTS_CA_BUNDLE", // Python, az
	"CURL_CA_BUNDLE",     // curl, and Python again
	"PIP_CERT",
	"HTTPLIB2_CA_CERTS",
	"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
	"GIT_SSL_CAINFO",
	"AWS_CA_BUNDLE",
	"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
	"CARGO_HTTP_CAINFO",
	"NPM_CONFIG_CAFILE",
	"npm_config_cafile",
	"DENO_CERT",
	"NIX_SSL_CERT_FILE",
}

// folderVariables name a folder of authorities, which some tools prefer to any file. They are
// cleared; what the folders hold is in the run's bundle.
var folderVariables = []string{"SSL_CERT_DIR", "GIT_SSL_CAPATH"}

// javaVariables hold options of Java. The others win over the first: the second is put before the
// arguments of the command "java", the third behind them.
var javaVariables = []string{"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}

// runEnviron is the child's environment: what we were given, without the cleared variables, and
// with those that lead to the server.
func runEnviron(environ []string, f runFacts) []string {
	set := append(f.variables(), f.javaOptions(environ)...)
	for _, v := range f.vaultVariables() {
		if f.vaultNamed || lookup(environ, v[0]) == "" { // Azure's names lead here as well
			set = append(set, v)
		}
	}
	drop := slices.Concat(managedVariables, clearedAlways)
	if !f.ownSignIn {
		drop = append(drop, signInVariables...)
		// AZURE_CLIENT_ID alone selects a managed identity. One that is not the run's would be
		// refused, and the tenant beside it belongs to the same sign-in.
		if !strings.EqualFold(lookup(environ, "AZURE_CLIENT_ID"), f.ClientID) {
			drop = append(drop, "AZURE_CLIENT_ID", "AZURE_TENANT_ID")
		}
	}
	drop = append(drop, folderVariables...)
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
	const direct = "127.0.0.1,localhost,::1"
	vars := [][2]string{
		// every SDK: no credential of a person
		{"AZURE_TOKEN_CREDENTIALS", "prod"},
		// every program: our names through the proxy
		{"HTTPS_PROXY", f.Proxy},
		{"https_proxy", f.Proxy},
		{"HTTP_PROXY", f.Proxy},
		{"http_proxy", f.Proxy},
		{"NO_PROXY", direct},
		{"no_proxy", direct},
		// az
		{"AZURE_CORE_INSTANCE_DISCOVERY", "false"},
		{"AZURE_CONFIG_DIR", f.files.azure},
		// Terraform, OpenTofu
		{"ARM_METADATA_HOSTNAME", f.ManagementHost},
		{"ARM_TENANT_ID", f.Tenant},
		{"ARM_SUBSCRIPTION_ID", f.Subscription},
		{"ARM_RESOURCE_PROVIDER_REGISTRATIONS", "none"},
		// Node, beside what it has built in
		{"NODE_EXTRA_CA_CERTS", f.files.own},
	}
	if !f.ownSignIn {
		vars = append(vars, f.managed()...)
	}
	for _, name := range bundleVariables {
		vars = append(vars, [2]string{name, f.files.bundle})
	}
	return vars
}

// vaultVariables name the vault for the program itself, as is usual.
func (f runFacts) vaultVariables() [][2]string {
	url := "https://" + f.vault + "." + f.VaultSuffix
	return [][2]string{
		{"AZURE_KEYVAULT_URL", url},
		{"AZURE_KEY_VAULT_URL", url},
		{"KEY_VAULT_URL", url},
		{"VAULT_URL", url},
		{"AZURE_KEY_VAULT_NAME", f.vault},
		{"KEY_VAULT_NAME", f.vault},
	}
}

// managed are the variables of the run's identity.
func (f runFacts) managed() [][2]string {
	imdsToken := f.Proxy + "/metadata/identity/oauth2/token"
	return [][2]string{
		// every SDK, as in App Service
		{"IDENTITY_ENDPOINT", f.IdentityEndpoint},
		{"IDENTITY_HEADER", f.Secret},
		// JS, Python and .NET, older releases; Java
		{"AZURE_POD_IDENTITY_AUTHORITY_HOST", f.Proxy},
		{"AZURE_POD_IDENTITY_TOKEN_URL", imdsToken},
		// az
		{"MSAL_MANAGED_IDENTITY_ENDPOINT", imdsToken},
		// Terraform, OpenTofu
		{"ARM_USE_MSI", "true"},
		{"ARM_MSI_ENDPOINT", imdsToken},
	}
}

// javaOptions append proxy and trust store to the options of Java that are there: it knows neither
// HTTPS_PROXY nor SSL_CERT_FILE, and the last of two options counts.
func (f runFacts) javaOptions(environ []string) [][2]string {
	options := f.javaWords()
	var vars [][2]string
	for i, name := range javaVariables {
		have := lookup(environ, name)
		if i == 0 || have != "" {
			vars = append(vars, [2]string{name, strings.TrimSpace(have + " " + options)})
		}
	}
	return vars
}

func (f runFacts) javaWords() string {
	var words []string
	if u, err := url.Parse(f.Proxy); err == nil {
		for _, scheme := range []string{"https", "http"} {
			words = append(words, "-D"+scheme+".proxyHost="+u.Hostname(), "-D"+scheme+".proxyPort="+u.Port())
		}
		words = append(words, "-Dhttp.nonProxyHosts=localhost|127.*|[::1]")
	}
	words = append(words, javaQuote(javaTrustStore+f.files.java),
		"-Djavax.net.ssl.trustStoreType=JKS", "-Djavax.net.ssl.trustStorePassword="+javaPassword)
	return strings.Join(words, " ")
}

// javaTrustStore is the option by which Java trusts a file, and nothing else.
const javaTrustStore = "-Djavax.net.ssl.trustStore="

// javaQuote makes s one word among Java's options, which know quotes and no escapes.
func javaQuote(s string) string {
	switch {
	case !strings.ContainsAny(s, " \t\n\"'"):
		return s
	case !strings.Contains(s, "'"):
		return "'" + s + "'"
	}
	return `"` + s + `"`
}
