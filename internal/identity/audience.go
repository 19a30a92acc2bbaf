package identity

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"strongroom/internal/resource"
)

// Names of Azure's management API and Graph that clients ask tokens for wherever these are: as
// they are built in, they stand for ours.
var (
	publicManagement = []string{
		"management.core.windows.net", "management.azure.com",
		"management.core.chinacloudapi.cn", "management.chinacloudapi.cn",
		"management.core.usgovcloudapi.net", "management.usgovcloudapi.net",
	}
	publicGraph = []string{"graph.microsoft.com", "microsoftgraph.chinacloudapi.cn", "graph.microsoft.us"}
)

// VaultAudience accepts the audience of a family's vaults: "https://vault.<domain>" without a
// port, with the family's, or with that of hostPort, the vault suffix of the request's host as
// it was written; with a slash at the end or without, in any letter case.
func VaultAudience(f resource.Family, hostPort string) func(aud string) bool {
	own := ""
	if _, port, err := net.SplitHostPort(hostPort); err == nil {
		own = port
	}
	return func(aud string) bool {
		host, port, ok := splitAudience(aud)
		return ok && host == f.VaultSuffix && (isPortOf(f, port) || port == own)
	}
}

// ManagementAudience accepts the audience of a family's management API: its URL with and without
// the port and the slash, and Azure's own names for it.
func ManagementAudience(f resource.Family) func(aud string) bool {
	return hostAudience(f, f.Management, publicManagement)
}

// GraphAudience is ManagementAudience for Graph.
func GraphAudience(f resource.Family) func(aud string) bool {
	return hostAudience(f, f.Graph, publicGraph)
}

func hostAudience(f resource.Family, own string, public []string) func(aud string) bool {
	return func(aud string) bool {
		host, port, ok := splitAudience(aud)
		return ok && (host == own && isPortOf(f, port) || port == "" && slices.Contains(public, host))
	}
}

// ResourceFamily says whether tokens are minted for a resource, and of which family: the one
// whose host it names, or that of the login host for Azure's own names of management and Graph.
// The audience is the resource as it was asked for. Any port passes, since a client names the one
// that it sees and a forwarded port is not known here; the face that gets the token compares it.
// In a run there are tokens of a cloud for whatever else the program asks, for doubles of other services.
func ResourceFamily(fs resource.Families, asked string, login resource.Family) (audience string, family resource.Family, ok bool) {
	host, port, ok := splitAudience(asked)
	if !ok {
		return inRun(asked, login)
	}
	for _, f := range fs {
		if host == f.VaultSuffix || host == f.Management || host == f.Graph {
			return asked, f, true
		}
	}
	if port == "" && (slices.Contains(publicManagement, host) || slices.Contains(publicGraph, host)) {
		return asked, login, true
	}
	return inRun(asked, login)
}

func inRun(asked string, login resource.Family) (audience string, family resource.Family, ok bool) {
	if !login.InRun || !resource.IsCloud(login) {
		return "", resource.Family{}, false
	}
	return asked, login, true
}

// splitAudience takes "https://host[:port][/]" apart, and nothing that has more; the host is in lower
// case.
func splitAudience(aud string) (host, port string, ok bool) {
	const scheme = "https://"
	if len(aud) < len(scheme) || !strings.EqualFold(aud[:len(scheme)], scheme) {
		return "", "", false
	}
	host, port, ok = resource.SplitHost(strings.TrimSuffix(aud[len(scheme):], "/"))
	return strings.ToLower(host), strings.TrimPrefix(port, ":"), ok
}

func isPortOf(f resource.Family, port string) bool {
	return port == "" || port == strconv.Itoa(f.Port)
}
