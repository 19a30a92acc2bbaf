package cli

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"strongroom/internal/server"
)

// welcome is what dev prints once it serves: what to paste next. The lines need a POSIX shell,
// curl and sed.
func welcome(r server.Ready, dataDir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nStrongroom serves the vault \"dev\" at %s until Ctrl-C.\n", r.VaultURL)
	if r.IdentityURL != "" {
		b.WriteString("\nStore and read a secret with curl, in another terminal:\n\n" + curlLines(r))
	}
	flag := ""
	if dataDir != devDataDir {
		flag = "--data-dir " + shellQuote(absolute(dataDir)) + " "
	}
	fmt.Fprintf(&b, "\nRun a program with an Azure SDK, unmodified; it finds the vault in AZURE_KEYVAULT_URL:\n\n"+
		"  strongroom run %s-- ./app\n\nUse the command line:\n\n"+
		"  strongroom secret list %s--vault dev\n\n", flag, flag)
	return b.String()
}

func curlLines(r server.Ready) string {
	curl := "curl -sS"
	if r.CAFile != "" {
		curl += " --cacert " + shellQuote(absolute(r.CAFile))
	}
	curl += " -H \"Authorization: Bearer $token\""
	secret := "\"$vault/secrets/hello?api-version=" + dataVersion + "\"; echo\n"
	return "  vault=" + shellQuote(r.VaultURL) + "\n" +
		"  token=$(curl -sS -H Metadata:true " + shellQuote(tokenURL(r)) + " |\n" +
		"    sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n" +
		"  " + curl + " -X PUT -H 'Content-Type: application/json' \\\n" +
		"    -d '{\"value\":\"my first secret\"}' " + secret +
		"  " + curl + " \\\n    " + secret
}

// absolute makes a path that holds in every folder.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// tokenURL is where a process of this user gets a token for the vault, as on a virtual machine
// of Azure.
func tokenURL(r server.Ready) string {
	resource := r.VaultURL
	if u, err := url.Parse(r.VaultURL); err == nil {
		_, suffix, _ := strings.Cut(u.Host, ".")
		resource = u.Scheme + "://" + suffix
	}
	link := r.IdentityURL + "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + resource
	if r.DevIdentity != "" {
		link += "&client_id=" + r.DevIdentity
	}
	return link
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
