package arm

import (
	"context"
	"net/http"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// metadataName is the operation whose api-versions are its own.
const metadataName = "MetadataEndpoints"

// cloudName is what this "cloud" is called. It must be none of the four built-in names, for which
// az replaces the login host by Microsoft's.
const cloudName = "Strongroom"

func (f *Face) declareMetadata(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: metadataName, Method: http.MethodGet, Path: "/metadata/endpoints",
		Access: operation.Anonymous, Audit: operation.Counted,
		Summary: "Tell az, Terraform and other tools the hosts of this deployment, as of a private Azure cloud.",
	}, f.getMetadata)
}

// getMetadata answers in the shape that the api-version has.
func (f *Face) getMetadata(_ context.Context, c *operation.Call, _ operation.None) (any, error) {
	return metadata(c.Query.Get("api-version"), c.Host.Family, f.region)
}

// metadata is the document of a family. Readers are bound to the shape of the version that they
// ask for, so an unknown one is refused.
func metadata(version string, family resource.Family, region string) (any, error) {
	switch version {
	case "":
		return nil, missingVersion()
	case "2015-01-01", "1.0":
		return newOldCloud(family), nil
	case "2018-01-01":
		return newCloud2018(family, region), nil
	case "2019-05-01", "2020-06-01":
		cloud := newCloud(family)
		cloud.Gallery = family.ManagementURL() + "/"
		return []Cloud{cloud}, nil
	case "2022-09-01":
		return newCloud(family), nil
	}
	return nil, apierr.BadRequest("InvalidApiVersionParameter",
		"The api-version is invalid. The supported versions are '2015-01-01,1.0,2018-01-01,2019-05-01,2020-06-01,2022-09-01'.")
}

// A Cloud describes the deployment as api-versions from 2019 on do. Where a tool wants the host
// of a service that Strongroom does not have, it gets the management host or a name below the
// family's own domain, so that nothing is sent to Microsoft by mistake. Members that end in
// ResourceId are names of token audiences, not hosts that anybody calls.
type Cloud struct {
	Name               string         `json:"name"`
	Portal             string         `json:"portal"`
	Authentication     Authentication `json:"authentication"`
	Media              string         `json:"media"`
	GraphAudience      string         `json:"graphAudience"`
	Graph              string         `json:"graph"`
	Suffixes           Suffixes       `json:"suffixes"`
	Batch              string         `json:"batch"`
	ResourceManager    string         `json:"resourceManager"`
	VMImageAliasDoc    string         `json:"vmImageAliasDoc"`
	DataLake           string         `json:"activeDirectoryDataLake"`
	SQLManagement      string         `json:"sqlManagement"`
	MicrosoftGraph     string         `json:"microsoftGraphResourceId"`
	AppInsights        string         `json:"appInsightsResourceId"`
	AppInsightsChannel string         `json:"appInsightsTelemetryChannelResourceId"`
	Attestation        string         `json:"attestationResourceId"`
	Synapse            string         `json:"synapseAnalyticsResourceId"`
	LogAnalytics       string         `json:"logAnalyticsResourceId"`
	OSSRDBMS           string         `json:"ossrDbmsResourceId"`
	OSSRDBMSForAz      string         `json:"ossrdbmsResourceId"` // az reads this spelling
	Gallery            string         `json:"gallery,omitempty"`  // until 2020-06-01
}

// Authentication says where tokens are to be had, and for which audiences. Another tenant than
// common or another provider than AAD makes tools take the cloud for an Azure Stack.
type Authentication struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant,omitempty"`
	IdentityProvider string   `json:"identityProvider,omitempty"`
}

// Suffixes are the domains of services. Clients put a name and a dot before them.
type Suffixes struct {
	DataLakeStore     string `json:"azureDataLakeStoreFileSystem"`
	ACR               string `json:"acrLoginServer"`
	SQLServer         string `json:"sqlServerHostname"`
	DataLakeAnalytics string `json:"azureDataLakeAnalyticsCatalogAndJob"`
	KeyVault          string `json:"keyVaultDns"` // with the port, if it is not 443: it is part of vault URLs
	Storage           string `json:"storage"`
	FrontDoor         string `json:"azureFrontDoorEndpointSuffix"`
	StorageSync       string `json:"storageSyncEndpointSuffix"`
	ManagedHSM        string `json:"mhsmDns"`
	MySQL             string `json:"mysqlServerEndpoint"`
	PostgreSQL        string `json:"postgresqlServerEndpoint"`
	MariaDB           string `json:"mariadbServerEndpoint"`
	Synapse           string `json:"synapseAnalytics"`
	Attestation       string `json:"attestationEndpoint"`
}

func newCloud(family resource.Family) Cloud {
	management, graph := family.ManagementURL()+"/", family.GraphURL()+"/"
	const ossrdbms = "https://ossrdbms-aad.database.windows.net"
	return Cloud{
		Name: cloudName, Portal: management,
		Authentication: Authentication{family.LoginURL(), audiences(family), "common", "AAD"},
		Media:          management, GraphAudience: graph, Graph: graph, Suffixes: newSuffixes(family), Batch: management,
		ResourceManager: management, VMImageAliasDoc: management, DataLake: management, SQLManagement: management,
		MicrosoftGraph: graph, AppInsights: "https://api.applicationinsights.io", AppInsightsChannel: management,
		Attestation: "https://attest.azure.net", Synapse: "https://dev.azuresynapse.net",
		LogAnalytics: "https://api.loganalytics.io", OSSRDBMS: ossrdbms, OSSRDBMSForAz: ossrdbms,
	}
}

// audiences names what a token for the management face is asked for; tools take the first.
func audiences(family resource.Family) []string {
	return []string{"https://management.core.windows.net/", family.ManagementURL() + "/"}
}

func newSuffixes(family resource.Family) Suffixes {
	domain := strings.TrimPrefix(family.VaultSuffix, "vault.")
	return Suffixes{
		DataLakeStore: "azuredatalakestore." + domain, ACR: "azurecr." + domain, SQLServer: "database." + domain,
		DataLakeAnalytics: "azuredatalakeanalytics." + domain, KeyVault: strings.TrimPrefix(family.VaultResource(), "https://"),
		Storage: "storage." + domain, FrontDoor: "azurefd." + domain, StorageSync: "afs." + domain,
		ManagedHSM: "managedhsm." + domain, MySQL: "mysql.database." + domain, PostgreSQL: "postgres.database." + domain,
		MariaDB: "mariadb.database." + domain, Synapse: "dev.azuresynapse." + domain, Attestation: "attest." + domain,
	}
}

// An OldCloud is the shape of 2015-01-01.
type OldCloud struct {
	Gallery        string         `json:"galleryEndpoint"`
	Graph          string         `json:"graphEndpoint"`
	Portal         string         `json:"portalEndpoint"`
	Authentication Authentication `json:"authentication"`
}

func newOldCloud(family resource.Family) OldCloud {
	management := family.ManagementURL() + "/"
	return OldCloud{
		Gallery: management, Graph: family.GraphURL() + "/", Portal: management,
		Authentication: Authentication{LoginEndpoint: family.LoginURL() + "/", Audiences: audiences(family)},
	}
}

// A Cloud2018 is the shape of 2018-01-01.
type Cloud2018 struct {
	Gallery        string                   `json:"galleryEndpoint"`
	Graph          string                   `json:"graphEndpoint"`
	Portal         string                   `json:"portalEndpoint"`
	GraphAudience  string                   `json:"graphAudience"`
	Authentication Authentication           `json:"authentication"`
	CloudEndpoint  map[string]CloudEndpoint `json:"cloudEndpoint"`
}

// A CloudEndpoint is a management host and the locations that it serves.
type CloudEndpoint struct {
	Endpoint  string   `json:"endpoint"` // without a scheme
	Locations []string `json:"locations"`
}

func newCloud2018(family resource.Family, region string) Cloud2018 {
	old := newOldCloud(family)
	old.Authentication.Tenant, old.Authentication.IdentityProvider = "common", "AAD"
	host := strings.TrimPrefix(family.ManagementURL(), "https://")
	return Cloud2018{
		Gallery: old.Gallery, Graph: old.Graph, Portal: old.Portal, GraphAudience: old.Graph, Authentication: old.Authentication,
		CloudEndpoint: map[string]CloudEndpoint{"public": {Endpoint: host, Locations: []string{region}}},
	}
}
