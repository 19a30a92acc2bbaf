package arm

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/resource"
)

var testFamily = resource.NewFamily("default", "example.org", 8443)

// The members of the published documents (Azure Resource Manager, metadata endpoints).
var (
	sampleCloud = strings.Fields(`name portal authentication media graphAudience graph suffixes batch resourceManager vmImageAliasDoc
		activeDirectoryDataLake sqlManagement microsoftGraphResourceId appInsightsResourceId appInsightsTelemetryChannelResourceId
		attestationResourceId synapseAnalyticsResourceId logAnalyticsResourceId ossrDbmsResourceId`)
	sampleSuffixes = strings.Fields(`azureDataLakeStoreFileSystem acrLoginServer sqlServerHostname azureDataLakeAnalyticsCatalogAndJob
		keyVaultDns storage azureFrontDoorEndpointSuffix storageSyncEndpointSuffix mhsmDns mysqlServerEndpoint
		postgresqlServerEndpoint mariadbServerEndpoint synapseAnalytics attestationEndpoint`)
	sampleOld  = strings.Fields(`galleryEndpoint graphEndpoint portalEndpoint authentication`)
	sample2018 = strings.Fields(`galleryEndpoint graphEndpoint portalEndpoint authentication graphAudience cloudEndpoint`)
)

func decodeMetadata(t *testing.T, version string) any {
	t.Helper()
	doc, err := metadata(version, testFamily, "local")
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal([]byte(marshal(t, doc)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMetadataShapes(t *testing.T) {
	for _, tt := range []struct {
		version string
		array   bool
		members []string
	}{
		{"2015-01-01", false, sampleOld},
		{"1.0", false, sampleOld},
		{"2018-01-01", false, sample2018},
		{"2019-05-01", true, append([]string{"gallery"}, sampleCloud...)},
		{"2020-06-01", true, append([]string{"gallery"}, sampleCloud...)},
		{"2022-09-01", false, sampleCloud},
	} {
		doc := decodeMetadata(t, tt.version)
		if list, isArray := doc.([]any); isArray != tt.array || isArray && len(list) != 1 {
			t.Errorf("%s: array %v, want %v with one cloud", tt.version, isArray, tt.array)
			continue
		} else if isArray {
			doc = list[0]
		}
		object := doc.(map[string]any)
		for _, name := range tt.members {
			if _, ok := object[name]; !ok {
				t.Errorf("%s: no member %q", tt.version, name)
			}
		}
		if suffixes, ok := object["suffixes"].(map[string]any); ok {
			for _, name := range sampleSuffixes {
				if s, _ := suffixes[name].(string); s == "" || strings.HasPrefix(s, ".") {
					t.Errorf("%s: suffix %q is %q", tt.version, name, s)
				}
			}
		}
	}
	for version, want := range map[string]string{"": "MissingApiVersionParameter", "2023-01-01": "InvalidApiVersionParameter"} {
		if _, err := metadata(version, testFamily, "local"); codeOf(err) != want {
			t.Errorf("metadata(%q): %v, want %s", version, err, want)
		}
	}
}

func TestMetadataValues(t *testing.T) {
	cloud := newCloud(testFamily)
	for _, tt := range []struct{ what, got, want string }{
		{"name", cloud.Name, "Strongroom"},
		{"loginEndpoint", cloud.Authentication.LoginEndpoint, "https://login.example.org:8443"},
		{"audiences", strings.Join(cloud.Authentication.Audiences, " "), "https://management.core.windows.net/ https://management.example.org:8443/"},
		{"tenant", cloud.Authentication.Tenant, "common"},
		{"identityProvider", cloud.Authentication.IdentityProvider, "AAD"},
		{"resourceManager", cloud.ResourceManager, "https://management.example.org:8443/"},
		{"microsoftGraphResourceId", cloud.MicrosoftGraph, "https://graph.example.org:8443/"},
		{"keyVaultDns", cloud.Suffixes.KeyVault, "vault.example.org:8443"},
		{"2015 loginEndpoint", newOldCloud(testFamily).Authentication.LoginEndpoint, "https://login.example.org:8443/"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %q, want %q", tt.what, tt.got, tt.want)
		}
	}
	object := decodeMetadata(t, "2022-09-01").(map[string]any)
	if object["ossrDbmsResourceId"] != object["ossrdbmsResourceId"] || object["ossrdbmsResourceId"] == nil {
		t.Error("the two spellings of ossrdbmsResourceId are not both there")
	}
}

// No tool may be led to a host of Microsoft's: only names of audiences may be theirs.
func TestMetadataStaysHome(t *testing.T) {
	cloud := reflect.ValueOf(newCloud(testFamily))
	foreign := []string{"AppInsights", "Attestation", "Synapse", "LogAnalytics", "OSSRDBMS", "OSSRDBMSForAz"}
	for field, value := range cloud.Fields() {
		if value.Kind() != reflect.String || slices.Contains(foreign, field.Name) || !strings.HasPrefix(value.String(), "https://") {
			continue
		}
		if u, err := url.Parse(value.String()); err != nil || !strings.HasSuffix(u.Hostname(), ".example.org") {
			t.Errorf("%s = %q, want a host of the family", field.Name, value)
		}
	}
	for field, value := range reflect.ValueOf(newSuffixes(testFamily)).Fields() {
		if host, _, _ := strings.Cut(value.String(), ":"); !strings.HasSuffix(host, ".example.org") {
			t.Errorf("suffix %s = %q, want a name of the family", field.Name, value)
		}
	}
}
