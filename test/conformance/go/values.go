package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// setAndGet sets two versions with everything that a secret can carry, and reads both.
func setAndGet(ctx context.Context, s *suite, f *findings) error {
	const name = "set-and-get"
	begin, end := time.Now().Add(-time.Hour).Truncate(time.Second).UTC(), time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	want := azsecrets.SetSecretParameters{
		Value: ptr("first"), ContentType: ptr("text/plain; kind=test"), Tags: map[string]*string{"env": ptr("dev"), "empty": ptr("")},
		SecretAttributes: &azsecrets.SecretAttributes{Enabled: ptr(true), NotBefore: &begin, Expires: &end},
	}
	first, err := s.client.SetSecret(ctx, name, want, nil)
	if err != nil {
		return err
	}
	f.secret("set", first.Secret, want)
	if err := s.set(ctx, name, "second"); err != nil {
		return err
	}
	latest, err := s.client.GetSecret(ctx, name, "", nil)
	if err != nil {
		return err
	}
	f.equal("value of the latest version", latest.Value, "second")
	f.equal("content type of a version set without", latest.ContentType, nil)
	old, err := s.client.GetSecret(ctx, name, first.ID.Version(), nil)
	if err != nil {
		return err
	}
	f.secret("get by version", old.Secret, want)
	f.equal("id", string(*old.ID), s.cfg.Vault+"/secrets/"+name+"/"+first.ID.Version())
	other, err := s.client.GetSecret(ctx, strings.ToUpper(name), strings.ToUpper(first.ID.Version()), nil)
	f.equal("value by name and version in capitals", other.Value, "first")
	return err
}

// secret compares what came back with what was set.
func (f *findings) secret(what string, got azsecrets.Secret, want azsecrets.SetSecretParameters) {
	if got.Attributes == nil || got.ID == nil {
		f.addf("%s: got no attributes or no id", what)
		return
	}
	f.equal(what+": value", got.Value, want.Value)
	f.equal(what+": content type", got.ContentType, want.ContentType)
	f.equal(what+": enabled", got.Attributes.Enabled, want.SecretAttributes.Enabled)
	f.equal(what+": not before", got.Attributes.NotBefore.UTC(), want.SecretAttributes.NotBefore.UTC())
	f.equal(what+": expires", got.Attributes.Expires.UTC(), want.SecretAttributes.Expires.UTC())
	f.equal(what+": number of tags", len(got.Tags), len(want.Tags))
	for k, v := range want.Tags {
		f.equal(what+": tag "+k, got.Tags[k], v)
	}
	f.equal(what+": recovery level", got.Attributes.RecoveryLevel, "Recoverable+Purgeable")
	f.equal(what+": recoverable days", got.Attributes.RecoverableDays, int32(90))
	f.equal(what+": managed", got.Managed, nil)
	if age := time.Since(*got.Attributes.Created); age < -time.Minute || age > time.Minute {
		f.addf("%s: created %v ago, want about now", what, age)
	}
}

// updateProperties changes the latest version without naming it, and an older one by name.
func updateProperties(ctx context.Context, s *suite, f *findings) error {
	const name = "update"
	first, err := s.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{
		Value: ptr("v1"), ContentType: ptr("a"), Tags: map[string]*string{"one": ptr("1"), "two": ptr("2")},
	}, nil)
	if err != nil {
		return err
	}
	if err := s.set(ctx, name, "v2"); err != nil {
		return err
	}
	end := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	latest, err := s.client.UpdateSecretProperties(ctx, name, "", azsecrets.UpdateSecretPropertiesParameters{
		ContentType: ptr("b"), SecretAttributes: &azsecrets.SecretAttributes{Expires: &end},
	}, nil)
	if err != nil {
		return fmt.Errorf("update the latest version: %w", err)
	}
	f.equal("value in the answer to an update", latest.Value, nil)
	f.equal("content type", latest.ContentType, "b")
	f.equal("expires", latest.Attributes.Expires.UTC(), end.UTC())
	f.equal("enabled, not named in the update", latest.Attributes.Enabled, true)

	old, err := s.client.UpdateSecretProperties(ctx, name, first.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{
		Tags: map[string]*string{"three": ptr("3")},
	}, nil)
	if err != nil {
		return fmt.Errorf("update the older version: %w", err)
	}
	f.equal("version", old.ID.Version(), first.ID.Version())
	f.equal("content type, not named in the update", old.ContentType, "a")
	f.equal("tags: the update replaces all", len(old.Tags), 1)
	read, err := s.client.GetSecret(ctx, name, first.ID.Version(), nil)
	f.equal("value after the update", read.Value, "v1")
	f.equal("tag after the update", read.Tags["three"], "3")
	return err
}

// values are those that encodings and limits tend to break.
func values(ctx context.Context, s *suite, f *findings) error {
	for _, tt := range []struct{ name, value string }{
		{"empty", ""},
		{"unicode", "Grüße, 世界 🔑 \u2028 e\u0301 ﷽ \U0010FFFD"},
		{"escapes", "\"\\/\b\f\n\r\t\u0001\u007f <script>&amp;%2F%00"},
		{"json", `{"value":"nested","attributes":{"enabled":false}}`},
		{"longest", strings.Repeat("a", 25_600)},
		{"longest-escaped", strings.Repeat("\u0001", 25_600)},
		{"three-byte", strings.Repeat("界", 8_500)},
	} {
		if err := s.set(ctx, "value-"+tt.name, tt.value); err != nil {
			f.addf("%v", err)
			continue
		}
		got, err := s.client.GetSecret(ctx, "value-"+tt.name, "", nil)
		if err != nil {
			f.addf("get value-%s: %v", tt.name, err)
			continue
		}
		f.equal("value "+tt.name, got.Value, tt.value)
	}
	return nil
}

// validity reads secrets outside their dates, which are information only, and one that is
// disabled, which is refused, though it may be changed and set anew.
func validity(ctx context.Context, s *suite, f *findings) error {
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, tt := range []struct {
		name string
		a    azsecrets.SecretAttributes
		want *refusal
	}{
		{"expired", azsecrets.SecretAttributes{Expires: &past}, nil},
		{"not-yet-valid", azsecrets.SecretAttributes{NotBefore: &future}, nil},
		{"disabled", azsecrets.SecretAttributes{Enabled: ptr(false)}, &disabled},
	} {
		name := "valid-" + tt.name
		made, err := s.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: ptr("v"), SecretAttributes: &tt.a}, nil)
		if err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		f.equal(name+": value in the answer to set", made.Value, "v")
		got, err := s.client.GetSecret(ctx, name, "", nil)
		if tt.want != nil {
			f.refused("get "+name, err, *tt.want)
			continue
		}
		if err != nil {
			return fmt.Errorf("get %s: %w", name, err)
		}
		f.equal(name+": value", got.Value, "v")
	}
	_, err := s.client.UpdateSecretProperties(ctx, "valid-disabled", "", azsecrets.UpdateSecretPropertiesParameters{
		SecretAttributes: &azsecrets.SecretAttributes{Enabled: ptr(true)},
	}, nil)
	if err != nil {
		return fmt.Errorf("enable again: %w", err)
	}
	got, err := s.client.GetSecret(ctx, "valid-disabled", "", nil)
	f.equal("value after it was enabled again", got.Value, "v")
	return err
}

// setAtOnce writes one name from many sides: each write is a version of its own.
func setAtOnce(ctx context.Context, s *suite, f *findings) error {
	const name, n = "at-once", 16
	var (
		mu    sync.Mutex
		made  = map[string]string{} // version: value; guarded by mu
		tasks []string
	)
	for i := range n {
		tasks = append(tasks, fmt.Sprint(i))
	}
	err := eachAtOnce(tasks, func(value string) error {
		set, err := s.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: &value}, nil)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		made[set.ID.Version()] = value
		return nil
	})
	if err != nil {
		return err
	}
	_, versions, err := collect(ctx, s.client.NewListSecretPropertiesVersionsPager(name, nil), versionsOf)
	if err != nil {
		return err
	}
	f.equal("number of versions", len(versions), n)
	for _, version := range versions {
		got, err := s.client.GetSecret(ctx, name, version, nil)
		if err != nil {
			return err
		}
		f.equal("value of version "+version, got.Value, made[version])
	}
	latest, err := s.client.GetSecret(ctx, name, "", nil)
	if err == nil && !slices.Contains(versions, latest.ID.Version()) {
		f.addf("latest version %s is none of those listed", latest.ID.Version())
	}
	return err
}
