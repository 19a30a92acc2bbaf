//go:build unix

package tamper

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // the name of a certificate, as x5t has it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// The outsider's right to see names at the target, which an attacker would like to widen.
	namesOnly = `principal_id = {outsider.id} AND role_definition_id = '` + metadata + `'`
	// The right that was revoked today.
	revoked = `principal_id = {outsider.id} AND role_definition_id = '` + administrator + `' AND scope_key LIKE '%/vaults/target'`
	copied  = `tenant_id, 'feedfeed-feed-4eed-8eed-feedfeedfeed', scope_key, scope, role_definition_id, {outsider.id}, principal_type, description, created_by, created_us, updated_by, updated_us, row_mac`
)

// authorisationAttacks are on assignments, principals, groups, credentials and signing keys.
var authorisationAttacks = []attack{
	{
		name: "insert a role assignment", alsoPostgreSQL: true,
		sql:  `INSERT INTO role_assignments SELECT ` + copied + ` FROM role_assignments WHERE principal_id = {reader.id} AND scope_key LIKE '%/vaults/target'`,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "insert a role assignment, with the server stopped", stopped: true,
		sql:     `INSERT INTO role_assignments SELECT ` + copied + ` FROM role_assignments WHERE principal_id = {reader.id} AND scope_key LIKE '%/vaults/target'`,
		noStart: "authorisation",
	},
	{
		name: "copy a role assignment under another id",
		sql: `INSERT INTO role_assignments SELECT tenant_id, 'feedfeed-feed-4eed-8eed-feedfeedfeed', scope_key || '/secrets/db', scope, role_definition_id, principal_id, principal_type, description, created_by, created_us, updated_by, updated_us, row_mac
			FROM role_assignments WHERE ` + namesOnly,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "widen a role", alsoPostgreSQL: true,
		sql:  `UPDATE role_assignments SET role_definition_id = '` + administrator + `' WHERE ` + namesOnly,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "role_assignments",
	},
	{
		name: "widen a role, with the server stopped", stopped: true,
		sql:     `UPDATE role_assignments SET role_definition_id = '` + administrator + `' WHERE ` + namesOnly,
		noStart: "authorisation",
	},
	{
		name: "widen a scope",
		sql:  `UPDATE role_assignments SET scope = REPLACE(scope, '/vaults/theirs', '/vaults/target'), scope_key = REPLACE(scope_key, '/vaults/theirs', '/vaults/target') WHERE principal_id = {outsider.id} AND scope_key LIKE '%/vaults/theirs'`,
		asks: []ask{stealDB}, where: "authorisation", found: "role_assignments",
	},
	{
		name: "give an assignment to another principal",
		sql:  `UPDATE role_assignments SET principal_id = {outsider.id} WHERE principal_id = {reader.id} AND scope_key LIKE '%/vaults/target'`,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "role_assignments",
	},
	{
		name: "bring back a revoked role assignment", alsoPostgreSQL: true,
		sql:  `INSERT INTO role_assignments SELECT * FROM y_role_assignments WHERE ` + revoked,
		asks: []ask{stealDB}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "bring back a revoked role assignment, with the server stopped", stopped: true,
		sql:     `INSERT INTO role_assignments SELECT * FROM y_role_assignments WHERE ` + revoked,
		noStart: "authorisation",
	},
	{
		name: "delete a role assignment",
		sql:  `DELETE FROM role_assignments WHERE ` + namesOnly,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "hide a role assignment: its tenant_id",
		sql:  `UPDATE role_assignments SET tenant_id = 'x' WHERE ` + namesOnly,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "role_assignments",
	},
	{
		name: "insert a principal",
		sql: `INSERT INTO principals SELECT tenant_id, 'feedfeed-feed-4eed-8eed-feedfeedfeed', kind, NULL, display_name, enabled, resource_id, location, tags, created_us, row_mac
			FROM principals WHERE object_id = {reader.id}`,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "let an application stand for another's principal: app_id",
		sql: `UPDATE principals SET app_id = 'x' WHERE object_id = {outsider.id};
			UPDATE principals SET app_id = {outsider.app} WHERE object_id = {reader.id}`,
		asks: []ask{{who: "as outsider", target: "target/secrets/db"}, stealDB}, where: "authorisation", found: "principals",
	},
	{
		name: "enable a disabled principal", alsoPostgreSQL: true,
		sql:  `UPDATE principals SET enabled = TRUE WHERE object_id = {retired.id}`,
		asks: []ask{{who: "as retired", target: "target/secrets/db"}}, where: "authorisation", found: "principals",
	},
	{
		name: "enable a disabled principal: bring back its row",
		sql: `DELETE FROM principals WHERE object_id = {retired.id};
			INSERT INTO principals SELECT * FROM y_principals WHERE object_id = {retired.id}`,
		asks: []ask{{who: "as retired", target: "target/secrets/db"}}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "make a principal a group",
		sql:  `UPDATE principals SET kind = 'Group' WHERE object_id = {reader.id}`,
		asks: []ask{stealDB}, where: "authorisation", found: "principals",
	},
	{
		name: "delete a principal",
		sql:  `DELETE FROM principals WHERE object_id = {reader.id}`,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "hide a principal: its tenant_id",
		sql:  `UPDATE principals SET tenant_id = 'x' WHERE object_id = {reader.id}`,
		asks: []ask{readDB}, where: "authorisation", found: "principals",
	},
	{
		name: "a principal's tags that are no JSON, and a secret deleted in their shadow",
		sql: `UPDATE principals SET tags = 'x' WHERE object_id = {outsider.id};
			DELETE FROM secrets WHERE vault_id = {target} AND name_key = 'api'`,
		asks: []ask{stealDB}, where: targetVault, found: "set vault/{target}",
	},
	{
		name: "a principal's tags that are no JSON",
		sql:  `UPDATE principals SET tags = 'x' WHERE object_id = {outsider.id}`,
		asks: []ask{stealDB, readDB}, where: "authorisation", found: "principals",
	},
	{
		name: "insert a group member",
		sql:  `INSERT INTO group_members SELECT tenant_id, {crew.id}, {outsider.id}, created_us, row_mac FROM group_members WHERE group_id = {junk.id}`,
		asks: []ask{stealDB}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "move a member to another group",
		sql:  `UPDATE group_members SET group_id = {crew.id} WHERE group_id = {junk.id}`,
		asks: []ask{stealDB}, where: "authorisation", found: "group_members",
	},
	{
		name: "bring back a removed group member",
		sql:  `INSERT INTO group_members SELECT * FROM y_group_members WHERE group_id = {crew.id}`,
		asks: []ask{stealDB}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "hide a group member: its tenant_id",
		sql:  `UPDATE group_members SET tenant_id = 'x' WHERE group_id = {junk.id}`,
		asks: []ask{stealDB}, where: "authorisation", found: "group_members",
	},
	{
		name: "bring back a removed group member, whose removal took another row's MAC", alsoPostgreSQL: true,
		do: removeAnother,
		// The removal is refused, so the outsider is a member still.
		asks: []ask{{who: "outsider", target: "banded/secrets/tune", may: "VALUE-old-tune", status: []int{200, 500}}}, found: "authorisation",
	},
	{
		name: "insert a credential of one's own for another's application",
		sql: `INSERT INTO credentials SELECT tenant_id, 'feedfeed-feed-4eed-8eed-feedfeedfeed', {reader.app}, kind, display_name, hint, secret_hmac, certificate, thumbprint_sha1, thumbprint_sha256, not_before_us, expires_us, created_us, row_mac
			FROM credentials WHERE credential_id = {outsider.key}`,
		asks: []ask{{who: "as outsider-for-reader", target: "target/secrets/db"}}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "move a credential to another's application",
		sql:  `UPDATE credentials SET app_id = {reader.app} WHERE credential_id = {outsider.key}`,
		asks: []ask{{who: "as outsider-for-reader", target: "target/secrets/db"}}, where: "authorisation", found: "credentials",
	},
	{
		name: "put one's own secret into another's credential",
		sql:  `UPDATE credentials SET secret_hmac = (SELECT o.secret_hmac FROM credentials o WHERE o.credential_id = {outsider.key}) WHERE credential_id = {reader.key}`,
		asks: []ask{{who: "as outsider-for-reader", target: "target/secrets/db"}}, where: "authorisation", found: "credentials",
	},
	{
		name: "bring back a removed credential", alsoPostgreSQL: true,
		sql:  `INSERT INTO credentials SELECT * FROM y_credentials WHERE credential_id = {leaked.key}`,
		asks: []ask{{who: "as leaked", target: "target/secrets/db"}}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "delete a credential's end date", alsoPostgreSQL: true,
		sql:  `UPDATE credentials SET expires_us = 4000000000000000 WHERE credential_id = {expired.key}`,
		asks: []ask{{who: "as expired", target: "target/secrets/db"}}, where: "authorisation", found: "credentials",
	},
	{
		name: "delete a credential",
		sql:  `DELETE FROM credentials WHERE credential_id = {reader.key}`,
		asks: []ask{{who: "as reader"}}, where: "authorisation", found: "set authorisation",
	},
	{
		name: "give an application another's client id",
		sql: `UPDATE applications SET app_id = 'x' WHERE app_id = {reader.app};
			UPDATE applications SET app_id = {reader.app} WHERE app_id = {outsider.app}`,
		asks: []ask{{who: "as outsider-for-reader", target: "target/secrets/db"}}, where: "authorisation", found: "applications",
	},
	{
		name: "delete the revision of authorisation",
		sql:  `DELETE FROM revisions WHERE scope = 'authorisation'`,
		asks: []ask{stealDB, readDB}, found: "set authorisation: revision 0 lies before",
	},
	{
		name: "delete the revision of authorisation, with the server stopped", stopped: true,
		sql:     `DELETE FROM revisions WHERE scope = 'authorisation'`,
		noStart: "authorisation",
	},
	{
		name: "set the revision of authorisation back",
		sql:  `UPDATE revisions SET revision = revision - 1 WHERE scope = 'authorisation'`,
		asks: []ask{stealDB, readDB}, found: "digest of authorisation",
	},
	{
		name: "bring back yesterday's revision of authorisation",
		sql: `DELETE FROM revisions WHERE scope = 'authorisation';
			INSERT INTO revisions SELECT * FROM y_revisions WHERE scope = 'authorisation'`,
		asks: []ask{stealDB, readDB}, found: "set authorisation: revision",
	},
	{
		name: "swap the revisions of authorisation and directory",
		sql: `UPDATE revisions SET scope = 'x' WHERE scope = 'directory';
			UPDATE revisions SET scope = 'directory' WHERE scope = 'authorisation';
			UPDATE revisions SET scope = 'authorisation' WHERE scope = 'x'`,
		asks: []ask{stealDB, readDB}, found: "digest of",
	},
	{
		name: "bring back yesterday's authorisation with its revision",
		sql:  authorisationBack, asks: []ask{stealDB, {who: "as retired", target: "target/secrets/db"}, {who: "as leaked"}}, found: "set authorisation: revision",
	},
	{
		name: "bring back yesterday's authorisation with its revision, with the server stopped", alsoPostgreSQL: true, stopped: true,
		sql: authorisationBack, noStart: "lies behind",
	},
	{
		name: "replace the signing key by a forged one",
		do:   forgeSigningKey,
		asks: []ask{{who: "forged", target: "target/secrets/db", status: []int{401, 500}}}, where: "directory", found: "signing_keys",
	},
	{
		name: "swap the signing key's certificate",
		sql:  `UPDATE signing_keys SET certificate = private_sealed`,
		asks: []ask{stealDB}, where: "directory", found: "signing_keys",
	},
	{
		name: "hide the signing keys: their tenant_id",
		sql:  `UPDATE signing_keys SET tenant_id = 'x'`,
		asks: []ask{{who: "outsider", target: "target/secrets/db"}}, where: "directory", found: "signing_keys",
	},
}

const authorisationBack = `DELETE FROM role_assignments;
	INSERT INTO role_assignments SELECT * FROM y_role_assignments;
	DELETE FROM principals;
	INSERT INTO principals SELECT * FROM y_principals;
	DELETE FROM group_members;
	INSERT INTO group_members SELECT * FROM y_group_members;
	DELETE FROM credentials;
	INSERT INTO credentials SELECT * FROM y_credentials;
	DELETE FROM applications;
	INSERT INTO applications SELECT * FROM y_applications;
	DELETE FROM revisions WHERE scope = 'authorisation';
	INSERT INTO revisions SELECT * FROM y_revisions WHERE scope = 'authorisation'`

// removeAnother gives a membership another row's MAC just before the owner ends it: what leaves the
// set is then the other row, and the membership can be put back for it. It must be refused or
// noticed at one of its steps.
func removeAnother(p *place) {
	p.exec(`CREATE TABLE kept AS SELECT * FROM group_members WHERE group_id = {band.id}`)
	p.exec(`UPDATE group_members SET row_mac = (SELECT o.row_mac FROM group_members o WHERE o.group_id = {junk.id} AND o.member_id = {outsider.id})
		WHERE group_id = {band.id} AND member_id = {outsider.id}`)
	status, _, answer, err := p.Call("DELETE", "graph.localhost", p.words("/v1.0/groups/{band.id}/members/{outsider.id}/$ref"), "")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("the owner's removal was answered %d %s", status, answer)
	if status >= 300 {
		return
	}
	p.exec(`DELETE FROM group_members WHERE group_id = {junk.id} AND member_id = {outsider.id};
		INSERT INTO group_members SELECT * FROM kept`)
	p.waitScrub(func() bool { return false }) // it reads the set anew
}

// forgeSigningKey puts a key of the attacker's own in the place of the server's, and signs a token
// of the reader with it.
func forgeSigningKey(p *place) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		p.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Strongroom token signing"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	sum := sha1.Sum(der)
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	if _, err := p.hands.Exec(`UPDATE signing_keys SET key_id = $1, certificate = $2`, id, der); err != nil {
		p.t.Fatal(err)
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", id)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	if err != nil {
		p.t.Fatal(err)
	}
	signed, err := signer.Sign(p.readersClaims())
	if err != nil {
		p.t.Fatal(err)
	}
	if p.tokens["forged"], err = signed.CompactSerialize(); err != nil {
		p.t.Fatal(err)
	}
}

// readersClaims are those of a token that the reader got from the server.
func (p *place) readersClaims() []byte {
	signed, err := jose.ParseSignedCompact(p.tokens["reader"], []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		p.t.Fatal(err)
	}
	claims := signed.UnsafePayloadWithoutVerification()
	if !json.Valid(claims) {
		p.t.Fatal("the claims of a token are no JSON")
	}
	return claims
}
