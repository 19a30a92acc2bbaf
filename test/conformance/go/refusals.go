package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// missing asks for what is not there.
func missing(ctx context.Context, s *suite, f *findings) error {
	const nobody = "nobody"
	if err := s.set(ctx, "missing", "v"); err != nil {
		return err
	}
	none := strings.Repeat("0", 32)
	_, err := s.client.GetSecret(ctx, nobody, "", nil)
	message := f.refused("get an unknown name", err, notFound)
	f.holds("message", message, "A secret with (name/id) "+nobody+" was not found in this key vault.")
	_, err = s.client.GetSecret(ctx, "missing", none, nil)
	message = f.refused("get an unknown version", err, notFound)
	f.holds("message", message, "missing/"+none)
	_, err = s.client.UpdateSecretProperties(ctx, nobody, "", azsecrets.UpdateSecretPropertiesParameters{}, nil)
	f.refused("update an unknown name", err, notFound)
	_, err = s.client.DeleteSecret(ctx, nobody, nil)
	f.refused("delete an unknown name", err, notFound)
	_, err = s.client.BackupSecret(ctx, nobody, nil)
	f.refused("back up an unknown name", err, notFound)
	_, err = s.client.GetDeletedSecret(ctx, nobody, nil)
	message = f.refused("get an unknown deleted name", err, notFound)
	f.holds("message", message, "Deleted Secret not found: "+nobody)
	_, err = s.client.RecoverDeletedSecret(ctx, nobody, nil)
	f.refused("recover an unknown name", err, notFound)
	_, err = s.client.PurgeDeletedSecret(ctx, nobody, nil)
	f.refused("purge an unknown name", err, notFound)
	return nil
}

// badInput sets what the service does not take; nothing of it is stored.
func badInput(ctx context.Context, s *suite, f *findings) error {
	tags := func(n int) map[string]*string {
		m := map[string]*string{}
		for i := range n {
			m[fmt.Sprintf("tag%02d", i)] = ptr("v")
		}
		return m
	}
	for _, tt := range []struct {
		what, name string
		p          azsecrets.SetSecretParameters
		message    string
	}{
		{"a name with an underscore", "bad_name", azsecrets.SetSecretParameters{Value: ptr("v")}, "The request URI contains an invalid name: bad_name"},
		{"a name with a slash", "bad/name", azsecrets.SetSecretParameters{Value: ptr("v")}, ""},
		{"a name of 128 characters", strings.Repeat("n", 128), azsecrets.SetSecretParameters{Value: ptr("v")}, "The request URI contains an invalid name"},
		{"no value", "bad", azsecrets.SetSecretParameters{}, ""},
		{"a value of 25,601 characters", "bad", azsecrets.SetSecretParameters{Value: ptr(strings.Repeat("a", 25_601))}, "Secret is beyond the maximum permitted length of 25600 characters."},
		{"16 tags", "bad", azsecrets.SetSecretParameters{Value: ptr("v"), Tags: tags(16)}, ""},
		{"a tag value of 513 characters", "bad", azsecrets.SetSecretParameters{Value: ptr("v"), Tags: map[string]*string{"t": ptr(strings.Repeat("v", 513))}}, ""},
		{"a tag name of 513 characters", "bad", azsecrets.SetSecretParameters{Value: ptr("v"), Tags: map[string]*string{strings.Repeat("t", 513): ptr("v")}}, ""},
		{"a content type of 256 characters", "bad", azsecrets.SetSecretParameters{Value: ptr("v"), ContentType: ptr(strings.Repeat("c", 256))}, ""},
	} {
		_, err := s.client.SetSecret(ctx, tt.name, tt.p, nil)
		message := f.refused(tt.what, err, badParameter)
		f.holds(tt.what+": message", message, tt.message)
	}
	_, err := s.client.GetSecret(ctx, "bad", "", nil)
	f.refused("get after the refusals", err, notFound)
	_, err = s.client.NewListSecretPropertiesPager(nil).NextPage(withPageSize(ctx, 26))
	f.refused("a page size of 26", err, badParameter)
	_, err = s.client.SetSecret(ctx, "good", azsecrets.SetSecretParameters{
		Value: ptr("v"), Tags: tags(15), ContentType: ptr(strings.Repeat("c", 255)),
	}, nil)
	return err
}

// noRights tries every operation as an identity without any right. Permission is judged before
// existence, so an unknown name is refused in the same way.
func noRights(ctx context.Context, s *suite, f *findings) error {
	if err := s.set(ctx, "guarded", "v"); err != nil {
		return err
	}
	value, properties := azsecrets.SetSecretParameters{Value: ptr("x")}, azsecrets.UpdateSecretPropertiesParameters{}
	for _, name := range []string{"guarded", "unknown"} {
		_, get := s.stranger.GetSecret(ctx, name, "", nil)
		_, set := s.stranger.SetSecret(ctx, name, value, nil)
		_, update := s.stranger.UpdateSecretProperties(ctx, name, "", properties, nil)
		_, remove := s.stranger.DeleteSecret(ctx, name, nil)
		_, backup := s.stranger.BackupSecret(ctx, name, nil)
		_, versions := s.stranger.NewListSecretPropertiesVersionsPager(name, nil).NextPage(ctx)
		_, deleted := s.stranger.GetDeletedSecret(ctx, name, nil)
		_, back := s.stranger.RecoverDeletedSecret(ctx, name, nil)
		_, purged := s.stranger.PurgeDeletedSecret(ctx, name, nil)
		for _, tt := range []struct {
			action string
			err    error
		}{
			{"getSecret/action", get},
			{"setSecret/action", set},
			{"update/action", update},
			{"delete", remove},
			{"backup/action", backup},
			{"readMetadata/action", versions},
			{"readMetadata/action", deleted},
			{"recover/action", back},
			{"purge/action", purged},
		} {
			message := f.refused(tt.action+" of "+name, tt.err, noRight)
			f.holds("message", message, "Action: 'Microsoft.KeyVault/vaults/secrets/"+tt.action+"'")
			f.holds("message", message, "Caller: appid="+s.cfg.StrangerID)
		}
	}
	_, err := s.stranger.NewListSecretPropertiesPager(nil).NextPage(ctx)
	f.refused("list", err, noRight)
	_, err = s.stranger.NewListDeletedSecretPropertiesPager(nil).NextPage(ctx)
	f.refused("list deleted", err, noRight)
	_, err = s.stranger.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: []byte("x")}, nil)
	f.refused("restore", err, noRight)
	got, err := s.client.GetSecret(ctx, "guarded", "", nil)
	f.equal("value after the refusals", got.Value, "v")
	return err
}

// headers looks at what every answer carries.
func headers(ctx context.Context, s *suite, f *findings) error {
	const asked = "7c5a1a2e-3f0b-4b6e-9d53-2a1f6c0e8b44"
	ctx = policy.WithHTTPHeader(ctx, http.Header{"X-Ms-Client-Request-Id": {asked}})
	if err := s.set(ctx, "headers", "v"); err != nil {
		return err
	}
	got := s.seen.lastHeader()
	f.equal("Content-Type", got.Get("Content-Type"), "application/json; charset=utf-8")
	f.equal("Cache-Control", got.Get("Cache-Control"), "no-cache")
	f.equal("X-Content-Type-Options", got.Get("X-Content-Type-Options"), "nosniff")
	f.equal("Strict-Transport-Security", got.Get("Strict-Transport-Security"), "max-age=31536000;includeSubDomains")
	f.equal("x-ms-client-request-id", got.Get("x-ms-client-request-id"), asked)
	for _, name := range []string{"x-ms-request-id", "x-ms-keyvault-region", "x-ms-keyvault-service-version"} {
		if got.Get(name) == "" {
			f.addf("%s: got none", name)
		}
	}
	return nil
}

// wrongSecret signs in with a secret that is not the identity's.
func wrongSecret(ctx context.Context, s *suite, f *findings) error {
	for _, tt := range []struct{ what, clientID, secret, want string }{
		{"wrong secret", s.cfg.StrangerID, "not-the-secret", "AADSTS7000215"},
		{"unknown client", "00000000-1111-2222-3333-444444444444", "x", "AADSTS700016"},
	} {
		cred, err := s.cfg.withSecret(tt.clientID, tt.secret)
		if err != nil {
			return err
		}
		client, err := s.newClient(cred)
		if err != nil {
			return err
		}
		_, err = client.GetSecret(ctx, "any", "", nil)
		f.holds(tt.what, signInFailure(err), tt.want)
	}
	return nil
}

// identityByID names the managed identity by its client id, and one that the run does not have.
func identityByID(ctx context.Context, s *suite, f *findings) error {
	managed := func(id string) (azcore.TokenCredential, error) {
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ClientOptions: s.cfg.clientOptions(), ID: azidentity.ClientID(id),
		})
	}
	cred, err := managed(s.cfg.ClientID)
	if err != nil {
		return err
	}
	client, err := s.newClient(cred)
	if err != nil {
		return err
	}
	if _, err := client.NewListSecretPropertiesPager(nil).NextPage(ctx); err != nil {
		return fmt.Errorf("list as the identity by its client id: %w", err)
	}
	if cred, err = managed(s.cfg.StrangerID); err != nil {
		return err
	}
	_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	f.holds("token of an identity that is not the run's", signInFailure(err), "400")
	return nil
}
