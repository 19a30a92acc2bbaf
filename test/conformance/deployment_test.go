//go:build linux

package conformance

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// The identities: an application with a secret and a certificate and a managed identity, which
// may use the vaults' secrets, and an application that may do nothing.
const (
	appName      = "app"
	managedName  = "managed"
	strangerName = "stranger"
	role         = "Key Vault Secrets Officer"
)

// A deployment is a server with identities, as the command line makes them.
type deployment struct {
	server  *served.Server
	tenant  string
	ids     map[string]string // client ids by name
	folder  string            // holds the credentials; readable by this user only
	secrets map[string]string // files with client secrets, by name
	pem     string            // the application's certificate with its key
}

func newDeployment(t *testing.T, settings ...string) *deployment {
	if !wanted {
		t.Skip("needs the client programs that scripts/conformance builds: make conformance")
	}
	settings = append(settings, "identity_listen="+served.FreeAddress(t))
	d := &deployment{
		server: served.New(t, "", settings...),
		ids:    map[string]string{}, folder: t.TempDir(), secrets: map[string]string{},
	}
	d.server.Start()
	for _, name := range []string{appName, strangerName} {
		var made struct {
			AppID string `json:"appId"`
		}
		d.commandJSON(t, &made, "identity", "create", name)
		d.ids[name] = made.AppID
		d.secrets[name] = d.write(t, name+".secret", d.command(t, "identity", "add-secret", name))
	}
	var made struct {
		Properties struct {
			ClientID string `json:"clientId"`
			TenantID string `json:"tenantId"`
		} `json:"properties"`
	}
	d.commandJSON(t, &made, "identity", "create", managedName, "--managed")
	d.ids[managedName], d.tenant = made.Properties.ClientID, made.Properties.TenantID
	d.addCertificate(t)
	return d
}

// addCertificate registers a self-signed certificate, and keeps it with its key for the client.
func (d *deployment) addCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: appName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	d.command(t, "identity", "add-certificate", appName, "--file", d.write(t, "app.crt", public))
	d.pem = d.write(t, "app.pem", append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), public...))
}

// makeVault makes a vault of its own for a run, so that it can count what it finds there.
func (d *deployment) makeVault(t *testing.T, vault string) {
	d.command(t, "vault", "create", vault)
	for _, name := range []string{appName, managedName} {
		d.command(t, "role", "assign", "--role", role, "--to", name, "--vault", vault)
	}
}

// writeConfig writes what a client program is told; the fields are those of go/main.go.
func (d *deployment) writeConfig(t *testing.T, c combination, vault string) string {
	_, port, err := net.SplitHostPort(d.server.Listen)
	if err != nil {
		t.Fatal(err)
	}
	authority, vaultURL := "https://login.strongroom.internal", "" // the vault is found in the environment
	if c.port == "other" {
		authority, vaultURL = "https://login.localhost:"+port, "https://"+vault+".vault.localhost:"+port
	}
	config := map[string]any{
		"vault": vaultURL, "authority": authority, "tenant": d.tenant,
		"signIn": c.signIn, "discovery": c.adfs, "loopback": c.port == "other",
		"clientId": d.ids[appName], "secretFile": d.secrets[appName], "certificateFile": d.pem,
		"strangerId": d.ids[strangerName], "strangerSecretFile": d.secrets[strangerName],
	}
	if c.adfs {
		config["tenant"] = "adfs"
	}
	if c.signIn == "managed" {
		config["clientId"] = d.ids[managedName]
	}
	text, err := json.Marshal(config, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return d.write(t, vault+".json", text)
}

func (d *deployment) write(t *testing.T, name string, content []byte) string {
	path := filepath.Join(d.folder, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs the built command line against the server and returns what it prints.
func (d *deployment) command(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), served.Binary(t), append(args, "--socket", d.server.Socket())...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("strongroom %q: %v\n%s", args, err, errs.String())
	}
	return out
}

func (d *deployment) commandJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	if err := json.Unmarshal(d.command(t, append(args, "--output", "json")...), into); err != nil {
		t.Fatalf("strongroom %q: %v", args, err)
	}
}
