//go:build unix

package hostile

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"strongroom/test/served"
)

// Published ids of built-in roles.
const (
	administrator = "00482a5a-887f-4fb3-b363-3b7fe8e74483" // Key Vault Administrator
	owner         = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
)

// A fixture is the deployment that the table is sent to: vaults in every state that refuses
// something, callers with all rights and with none, and the forgeries that rows name.
type fixture struct {
	*deployment
	identityListen string            // the managed identity endpoint, plain HTTP
	tokens         map[string]string // by the name that sections have for their caller
	words          map[string]string // «name»
	forged         map[string]map[string]string
	used           map[string]bool
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	listen := served.FreeAddress(t)
	f := &fixture{deployment: start(t, "identity_listen="+listen), identityListen: listen, used: map[string]bool{}}
	f.makeVaults()
	f.makeCallers()
	other := start(t)
	f.words = map[string]string{
		"sub": f.about.Subscription, "group": f.about.Group, "tenant": f.about.Tenant, "region": f.about.Region,
		"vault": strings.TrimPrefix(f.vault(), served.ManagementHost), "listen": f.Listen, "app": f.caller.AppID,
		"app-id": f.caller.ObjectID, "secret": f.caller.Secret.SecretText, "principal": f.caller.PrincipalID,
		"secret-id": f.caller.Secret.KeyID, "version": f.version("kept"),
	}
	forged := map[string]string{}
	for name, headers := range forgeries(t, f.deployment, other.token) {
		forged[name] = strings.Join(headers, "\r\n")
	}
	f.forged = map[string]map[string]string{
		"forged": forged, "skip": f.skipTokens(other), "blob": f.blobs(other), "assertion": f.assertions(),
	}
	f.before = f.state()
	return f
}

// version is the id of a secret's newest version.
func (f *fixture) version(name string) string {
	f.t.Helper()
	var got struct{ ID string }
	f.MustDecode(f.Must("GET", served.VaultHost+"/secrets/"+name+"?api-version=7.6", ""), &got)
	return got.ID[strings.LastIndex(got.ID, "/")+1:]
}

// makeVaults makes secrets in the states that refuse something, and vaults that do.
func (f *fixture) makeVaults() {
	f.t.Helper()
	const set, version, rbac = `{"value":"as it was"}`, "?api-version=7.6", `,"enableRbacAuthorization":true`
	f.Must("PUT", served.VaultHost+"/secrets/off"+version, `{"value":"as it was","attributes":{"enabled":false}}`)
	f.Must("PUT", served.VaultHost+"/secrets/gone"+version, set)
	f.Must("DELETE", served.VaultHost+"/secrets/gone"+version, "")
	for name, properties := range map[string]string{
		"second": rbac, "lasting": rbac + `,"enablePurgeProtection":true`, "policies": `,"enableRbacAuthorization":false,"accessPolicies":[]`,
		"walled": rbac + `,"networkAcls":{"defaultAction":"Deny","bypass":"None","ipRules":[{"value":"203.0.113.9"}]}`,
		"closed": rbac + `,"publicNetworkAccess":"Disabled"`, "removed": rbac,
	} {
		body := fmt.Sprintf(`{"location":%q,"properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"}%s}}`,
			f.about.Region, f.about.Tenant, properties)
		f.Must("PUT", f.about.Vault(name)+"?api-version=2024-11-01", body)
	}
	f.Must("DELETE", f.about.Vault("removed")+"?api-version=2024-11-01", "")
	for _, name := range []string{"kept", "spare"} {
		f.Must("PUT", "second.vault.localhost/secrets/"+name+version, set)
	}
	f.Must("PUT", "lasting.vault.localhost/secrets/gone"+version, set)
	f.Must("DELETE", "lasting.vault.localhost/secrets/gone"+version, "")
	f.also = []string{
		"second.vault.localhost/secrets?api-version=7.6", "second.vault.localhost/deletedsecrets?api-version=7.6",
		"lasting.vault.localhost/secrets?api-version=7.6", "lasting.vault.localhost/deletedsecrets?api-version=7.6",
		served.VaultHost + "/secrets/spare?api-version=7.6", served.VaultHost + "/secrets/off/versions?api-version=7.6",
	}
}

// makeCallers gives the first caller all rights on all vaults, and makes an owner and a stranger.
func (f *fixture) makeCallers() {
	f.t.Helper()
	boss, stranger := f.newApplication("boss"), f.newApplication("stranger")
	subscription := served.ManagementHost + "/subscriptions/" + f.about.Subscription
	f.give(subscription, 2, administrator, f.caller.PrincipalID)
	f.give(served.ManagementHost, 3, owner, boss.PrincipalID)
	f.tokens = map[string]string{"caller": f.token}
	for name, app := range map[string]served.Application{"owner": boss, "stranger": stranger} {
		for face, resource := range map[string]string{
			"": served.VaultResource, "@management": "https://management.localhost", "@graph": "https://graph.localhost",
		} {
			_, token, err := f.SignIn(f.about.Tenant, app.AppID, app.Secret.SecretText, resource)
			if err != nil {
				f.t.Fatal(err)
			}
			f.tokens[name+face] = token
		}
	}
}

func (f *fixture) newApplication(name string) served.Application {
	f.t.Helper()
	app, err := f.NewApplication(name)
	if err != nil {
		f.t.Fatal(err)
	}
	return app
}

// give assigns a role at a scope, whose path stands behind the management host.
func (f *fixture) give(scope string, number int, role, principal string) {
	f.t.Helper()
	f.Must("PUT", fmt.Sprintf("%s/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-%012d?api-version=2022-04-01", scope, number),
		served.RoleAssignment(role, principal))
}

// skipTokens are tokens of lists that must not hold on the list of the vault's secrets.
func (f *fixture) skipTokens(other *deployment) map[string]string {
	good := f.skipToken("/secrets?api-version=7.6&maxresults=1")
	raw := decodeText(f.t, good)
	out := map[string]string{
		"good": good, "another deployment": other.skipToken("/secrets?api-version=7.6&maxresults=1"),
		"another vault": f.skipTokenOf("second.vault.localhost", "/secrets?api-version=7.6&maxresults=1"),
		"half":          good[:len(good)/2], "all but one byte": encode(raw[:len(raw)-1]), "one byte": encode(raw[:1]),
		"byte more": encode(append(bytes.Clone(raw), 0)), "byte before": encode(append([]byte{0}, raw...)),
		"zeros": encode(make([]byte, len(raw))), "twice": encode(append(bytes.Clone(raw), raw...)),
	}
	for i, where := range []string{"first", "second", "middle", "last"} {
		at := []int{0, 1, len(raw) / 2, len(raw) - 1}[i]
		out["altered "+where+" byte"] = encode(altered(raw, at))
	}
	return out
}

func altered(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// blobs are backups that must not be restored.
func (f *fixture) blobs(other *deployment) map[string]string {
	good := backup(f.deployment, served.VaultHost, "kept")
	raw := decodeText(f.t, good)
	random := make([]byte, len(raw))
	rand.Read(random)
	out := map[string]string{
		"good": good, "another deployment": backup(other, served.VaultHost, "kept"), "of the second vault": backup(f.deployment, "second.vault.localhost", "kept"),
		"half": encode(raw[:len(raw)/2]), "all but one byte": encode(raw[:len(raw)-1]), "one byte": encode(raw[:1]),
		"byte more": encode(append(bytes.Clone(raw), 0)), "twice": encode(append(bytes.Clone(raw), raw...)),
		"random": encode(random), "zeros": encode(make([]byte, len(raw))), "a skip token": f.skipToken("/secrets?api-version=7.6&maxresults=1"),
		"an access token": encode([]byte(f.token)), "head of another": encode(append(bytes.Clone(decodeText(f.t, backup(other, served.VaultHost, "kept"))[:len(raw)/2]), raw[len(raw)/2:]...)),
	}
	for i, where := range []string{"first", "second", "tenth", "middle", "last"} {
		at := []int{0, 1, 9, len(raw) / 2, len(raw) - 1}[i]
		out["altered "+where+" byte"] = encode(altered(raw, at))
	}
	return out
}

// backup is the blob of a secret.
func backup(d *deployment, host, name string) string {
	d.t.Helper()
	var blob struct{ Value string }
	d.MustDecode(d.Must("POST", host+"/secrets/"+name+"/backup?api-version=7.6", ""), &blob)
	return blob.Value
}

var placeholder = regexp.MustCompile(`«[^«»]*»`)

// expand replaces what stands between « and ».
func (f *fixture) expand(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		word := strings.TrimSuffix(strings.TrimPrefix(found, "«"), "»")
		if value, ok := f.words[word]; ok {
			return value
		}
		kind, rest, _ := strings.Cut(word, " ")
		if makers := f.forged[kind]; makers != nil {
			value, ok := makers[rest]
			if !ok {
				f.t.Fatalf("no %s is called %q", kind, rest)
			}
			f.used[word] = true
			return value
		}
		return f.made(kind, rest)
	})
}

// made makes a text that a file cannot hold, or should not.
func (f *fixture) made(kind, rest string) string {
	f.t.Helper()
	switch kind {
	case "sp":
		return " "
	case "hex":
		b, err := hex.DecodeString(rest)
		if err != nil {
			f.t.Fatal(err)
		}
		return string(b)
	case "repeat": // a count and a text
		count, text, _ := strings.Cut(rest, " ")
		return strings.Repeat(text, f.number(count))
	case "nest": // a count, an opening and an end
		parts := strings.Split(rest, " ")
		return strings.Repeat(parts[1], f.number(parts[0])) + "1" + strings.Repeat(parts[2], f.number(parts[0]))
	case "tags":
		return strings.Join(numbered(f.number(rest)), ",")
	case "headers":
		var b strings.Builder
		for i := range f.number(rest) {
			fmt.Fprintf(&b, "X-Header-%d: %d\r\n", i, i)
		}
		return strings.TrimSuffix(b.String(), "\r\n")
	case "gzip":
		return zipped(f.t, rest)
	case "utf16le":
		return asUTF16(binary.LittleEndian, rest)
	case "utf16be":
		return asUTF16(binary.BigEndian, rest)
	case "basic":
		return base64.StdEncoding.EncodeToString([]byte(f.expandWords(rest)))
	}
	f.t.Fatalf("unknown placeholder %q", kind)
	return ""
}

// expandWords replaces words in the argument of a placeholder, where they stand in braces.
func (f *fixture) expandWords(text string) string {
	for name, value := range f.words {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

func (f *fixture) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// allUsed wants each forgery to be in a row: one that nobody sends proves nothing.
func (f *fixture) allUsed(t *testing.T) {
	t.Helper()
	for kind, makers := range f.forged {
		for name := range makers {
			if !f.used[kind+" "+name] {
				t.Errorf("no row has «%s %s»", kind, name)
			}
		}
	}
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`"tag%d":"x"`, i)
	}
	return out
}

func asUTF16(order binary.AppendByteOrder, s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// assertions are client assertions that must not sign the caller in.
func (f *fixture) assertions() map[string]string {
	key, cert := newCertificate(f.t)
	f.Must("PATCH", "graph.localhost/v1.0/applications/"+f.caller.ObjectID,
		fmt.Sprintf(`{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":%q}]}`, base64.StdEncoding.EncodeToString(cert)))
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.t.Fatal(err)
	}
	a := assertionMaker{f.t, thumbprint(cert), f.caller.AppID, "https://" + f.about.LoginHost + "/" + f.about.Tenant + "/oauth2/v2.0/token"}
	f.mustHold(a.signed(nil, nil, key))
	out := a.badClaims(key)
	maps.Copy(out, a.badHeaders(key, foreign, cert))
	return out
}

// mustHold is the other side of the forgeries: an assertion made in the same way signs in.
func (f *fixture) mustHold(assertion string) {
	f.t.Helper()
	f.Must("POST", "login.localhost/"+f.about.Tenant+"/oauth2/v2.0/token",
		"grant_type=client_credentials&client_id="+f.caller.AppID+"&scope=https://vault.localhost/.default&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion="+assertion)
}
