//go:build unix

package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
)

var testGrant = runGrant{
	Proxy: "http://127.0.0.1:9", IdentityEndpoint: "http://127.0.0.1:9/msi/token", Secret: "h", ClientID: "c1",
	CAPEM: "OURS\n", VaultSuffix: "vault.run.test", ManagementHost: "management.run.test", Tenant: "t1", Subscription: "s1",
}

// testManaged are what a run sets for its identity.
var testManaged = []string{
	"IDENTITY_ENDPOINT=http://127.0.0.1:9/msi/token", "IDENTITY_HEADER=h",
	"AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:9",
	"AZURE_POD_IDENTITY_TOKEN_URL=http://127.0.0.1:9/metadata/identity/oauth2/token",
	"MSAL_MANAGED_IDENTITY_ENDPOINT=http://127.0.0.1:9/metadata/identity/oauth2/token",
	"ARM_USE_MSI=true", "ARM_MSI_ENDPOINT=http://127.0.0.1:9/metadata/identity/oauth2/token",
}

// testVariables are what a run sets beside that.
var testVariables = []string{
	"AZURE_TOKEN_CREDENTIALS=prod",
	"HTTPS_PROXY=http://127.0.0.1:9", "https_proxy=http://127.0.0.1:9", "HTTP_PROXY=http://127.0.0.1:9", "http_proxy=http://127.0.0.1:9",
	"NO_PROXY=127.0.0.1,localhost,::1", "no_proxy=127.0.0.1,localhost,::1",
	"AZURE_KEYVAULT_URL=https://dev.vault.run.test", "AZURE_KEY_VAULT_URL=https://dev.vault.run.test",
	"KEY_VAULT_URL=https://dev.vault.run.test", "VAULT_URL=https://dev.vault.run.test",
	"AZURE_KEY_VAULT_NAME=dev", "KEY_VAULT_NAME=dev",
	"AZURE_CORE_INSTANCE_DISCOVERY=false", "AZURE_CONFIG_DIR=/d/azure",
	"ARM_METADATA_HOSTNAME=management.run.test",
	"ARM_TENANT_ID=t1", "ARM_SUBSCRIPTION_ID=s1", "ARM_RESOURCE_PROVIDER_REGISTRATIONS=none",
}

const testProxyOptions = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9 -Dhttp.nonProxyHosts=localhost|127.*|[::1]"

const testJavaOptions = testProxyOptions +
	" -Djavax.net.ssl.trustStore=/d/bundle.jks -Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword=changeit"

var testAuthorities = []string{
	"SSL_CERT_FILE=/d/bundle.pem", "REQUESTS_CA_BUNDLE=/d/bundle.pem", "CURL_CA_BUNDLE=/d/bundle.pem", "PIP_CERT=/d/bundle.pem",
	"HTTPLIB2_CA_CERTS=/d/bundle.pem", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/d/bundle.pem", "GIT_SSL_CAINFO=/d/bundle.pem",
	"AWS_CA_BUNDLE=/d/bundle.pem", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE=/d/bundle.pem", "CARGO_HTTP_CAINFO=/d/bundle.pem",
	"NPM_CONFIG_CAFILE=/d/bundle.pem", "npm_config_cafile=/d/bundle.pem", "DENO_CERT=/d/bundle.pem", "NIX_SSL_CERT_FILE=/d/bundle.pem",
	"NODE_EXTRA_CA_CERTS=/d/ca.pem",
}

// and adds to the authorities of a run.
func and(more ...string) []string { return append(slices.Clone(testAuthorities), more...) }

func TestRunEnviron(t *testing.T) {
	withCA := runFiles{dir: "/d", own: "/d/ca.pem", bundle: "/d/bundle.pem", java: "/d/bundle.jks", azure: "/d/azure"}
	spaced := withCA
	spaced.java = "/my d/bundle.jks"
	const java = "JAVA_TOOL_OPTIONS=" + testJavaOptions
	for _, tt := range []struct {
		name     string
		in, want []string // want: beside testVariables
		files    runFiles
	}{
		{"nothing", nil, and(java), withCA},
		{"others stay", []string{"PATH=/bin", "EMPTY=", "A=b=c"}, and("PATH=/bin", "EMPTY=", "A=b=c", java), withCA},
		{
			"what would win over the run's identity goes",
			[]string{
				"IDENTITY_SERVER_THUMBPRINT=x", "IMDS_ENDPOINT=x", "MSI_ENDPOINT=x", "MSI_SECRET=x", "AZURE_FEDERATED_TOKEN_FILE=x",
				"AZURE_CLIENT_SECRET=x", "AZURE_CLIENT_CERTIFICATE_PATH=x", "AZURE_USERNAME=x", "AZURE_PASSWORD=x",
				"AZURE_AUTHORITY_HOST=x", "AZURE_REGIONAL_AUTHORITY_NAME=x", "AZURE_CLIENT_ID=other", "AZURE_TENANT_ID=other",
			},
			and(java), withCA,
		},
		{
			"what is set replaces what was",
			[]string{"IDENTITY_ENDPOINT=x", "HTTPS_PROXY=x", "no_proxy=x", "AZURE_KEYVAULT_URL=https://prod.vault.azure.net", "NODE_EXTRA_CA_CERTS=x"},
			and(java), withCA,
		},
		{
			"what would win over the run's authority goes",
			[]string{
				"SSL_CERT_FILE=x", "SSL_CERT_DIR=x", "REQUESTS_CA_BUNDLE=x", "CURL_CA_BUNDLE=x", "PIP_CERT=x", "HTTPLIB2_CA_CERTS=x",
				"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=x", "GIT_SSL_CAINFO=x", "GIT_SSL_CAPATH=x", "AWS_CA_BUNDLE=x",
				"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE=x", "CARGO_HTTP_CAINFO=x", "NPM_CONFIG_CAFILE=x", "npm_config_cafile=x",
				"DENO_CERT=x", "NIX_SSL_CERT_FILE=x",
			},
			and(java), withCA,
		},
		{
			"our own identity may be named",
			[]string{"AZURE_CLIENT_ID=C1", "AZURE_TENANT_ID=t1"},
			and("AZURE_CLIENT_ID=C1", "AZURE_TENANT_ID=t1", java), withCA,
		},
		{
			"options of Java stay, and ours win",
			[]string{"JAVA_TOOL_OPTIONS=-Xmx1g", "JDK_JAVA_OPTIONS=-Dx=y ", "_JAVA_OPTIONS=-Dz"},
			and("JAVA_TOOL_OPTIONS=-Xmx1g "+testJavaOptions, "JDK_JAVA_OPTIONS=-Dx=y  "+testJavaOptions, "_JAVA_OPTIONS=-Dz "+testJavaOptions), withCA,
		},
		{
			"a path with a space", nil,
			and("JAVA_TOOL_OPTIONS=" + strings.Replace(testJavaOptions, "-Djavax.net.ssl.trustStore=/d/bundle.jks", "'-Djavax.net.ssl.trustStore=/my d/bundle.jks'", 1)), spaced,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := slices.Clone(tt.in)
			got := runEnviron(in, runFacts{runGrant: testGrant, vault: "dev", vaultNamed: true, files: tt.files})
			want := slices.Concat(tt.want, testVariables, testManaged)
			if d := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); d != "" {
				t.Errorf("runEnviron(%q) differs (-want +got):\n%s", tt.in, d)
			}
			diff(t, "input", in, tt.in)
		})
	}
}

// A program that signs in by itself keeps what it needs for that, and has no managed identity.
func TestRunEnvironOfOwnSignIn(t *testing.T) {
	files := runFiles{dir: "/d", own: "/d/ca.pem", bundle: "/d/bundle.pem", java: "/d/bundle.jks", azure: "/d/azure"}
	own := []string{
		"AZURE_CLIENT_ID=other", "AZURE_TENANT_ID=other", "AZURE_CLIENT_SECRET=x", "AZURE_CLIENT_CERTIFICATE_PATH=x",
		"AZURE_FEDERATED_TOKEN_FILE=x", "AZURE_AUTHORITY_HOST=https://login.microsoftonline.us",
	}
	in := append(slices.Clone(own), "IDENTITY_ENDPOINT=x", "IDENTITY_HEADER=x", "MSI_ENDPOINT=x", "AZURE_REGIONAL_AUTHORITY_NAME=x")
	got := runEnviron(in, runFacts{runGrant: testGrant, vault: "dev", ownSignIn: true, files: files})
	want := slices.Concat(own, and("JAVA_TOOL_OPTIONS="+testJavaOptions), testVariables)
	if d := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); d != "" {
		t.Errorf("runEnviron differs (-want +got):\n%s", d)
	}
	own = []string{"KEY_VAULT_URL=https://contoso-payroll.vault.azure.net"}
	if got := runEnviron(own, runFacts{runGrant: testGrant, vault: "dev", files: files}); !slices.Contains(got, own[0]) {
		t.Errorf("runEnviron(%q) lacks it, though no vault was named", own)
	}
}

func TestChildExit(t *testing.T) {
	for _, tt := range []struct {
		script string
		want   error
	}{{"exit 0", nil}, {"exit 3", exitCode(3)}, {"kill -TERM $$", exitCode(143)}, {"kill -9 $$", exitCode(137)}} {
		if got := childExit("sh", exec.Command("sh", "-c", tt.script).Run()); !errors.Is(got, tt.want) {
			t.Errorf("childExit(%q) = %v, want %v", tt.script, got, tt.want)
		}
	}
}

func TestSignalsAreForwarded(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	script := `trap 'exit 5' TERM; touch "$1"; while :; do sleep 0.02; done`
	c := &call{app: &app{}, ctx: t.Context(), args: []string{"sh", "-c", script, "sh", ready}}
	ended := make(chan error, 1)
	go func() { ended <- c.runChild("/bin/sh", os.Environ()) }()
	for deadline := time.After(time.Minute); !fileExists(ready); {
		select {
		case <-deadline:
			t.Fatal("the child did not start within a minute")
		case <-time.After(5 * time.Millisecond): // polls to the deadline
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, exitCode(5)) {
		t.Errorf("runChild = %v, want exit code 5 of the child's trap", err)
	}
}

func TestRunRequest(t *testing.T) {
	for _, tt := range []struct {
		args string
		want runRequest
		err  string
	}{
		{"", runRequest{}, ""},
		{"--vault payroll --as web", runRequest{Vault: "payroll", Identity: "web"}, ""},
		{"--vault Contoso-Payroll=payroll --vault other", runRequest{Vault: "other", Vaults: map[string]string{"contoso-payroll": "payroll"}}, ""},
		{"--offline --sign-in env", runRequest{Offline: true, OwnSignIn: true, Tenant: "t9"}, ""},
		{"--allow-azure", runRequest{AllowAzure: true}, ""},
		{"--vault a --vault b", runRequest{}, "another --vault says otherwise"},
		{"--vault a=b --vault A=c", runRequest{}, "another --vault says otherwise"},
		{"--sign-in me", runRequest{}, "want managed or env"},
		{"--sign-in env --as web", runRequest{}, "want --as or --sign-in env"},
		{"--offline --allow-azure", runRequest{}, "found both"},
	} {
		f := pflag.NewFlagSet("run", pflag.ContinueOnError)
		(&app{}).runSpec().flags(f)
		if err := f.Parse(strings.Fields(tt.args)); err != nil {
			t.Fatal(err)
		}
		got, err := (&call{app: &app{environ: []string{"AZURE_TENANT_ID=t9"}}, flags: f}).runRequest()
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: got %v, want an error with %q", tt.args, err, tt.err)
			}
			continue
		}
		if tt.want.Vaults == nil {
			tt.want.Vaults = map[string]string{}
		}
		if d := cmp.Diff(tt.want, got); err != nil || d != "" {
			t.Errorf("%q: %v, differs (-want +got):\n%s", tt.args, err, d)
		}
	}
}
