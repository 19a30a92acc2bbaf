package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// retention is the default of a vault: 90 days.
const retention = 90 * 24 * time.Hour

// until polls as the SDK's examples do, every half second until what was begun is done.
func until(ctx context.Context, what string, done func() error) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := done()
		var refused *azcore.ResponseError
		if !errors.As(err, &refused) || refused.StatusCode != 404 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// deleteAndRecover takes a secret to the deleted ones and back, and looks at what is refused
// meanwhile.
func deleteAndRecover(ctx context.Context, s *suite, f *findings) error {
	const name = "recover"
	if err := s.set(ctx, name, "one"); err != nil {
		return err
	}
	made, err := s.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: ptr("two"), Tags: map[string]*string{"t": ptr("1")}}, nil)
	if err != nil {
		return err
	}
	gone, err := s.client.DeleteSecret(ctx, name, nil)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	f.deleted("delete", s, gone.DeletedSecret, name)
	f.equal("id in the answer to delete", gone.ID, made.ID)
	err = until(ctx, "wait for the deletion", func() error {
		got, err := s.client.GetDeletedSecret(ctx, name, nil)
		if err == nil {
			f.deleted("get deleted", s, got.DeletedSecret, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.whileDeleted(ctx, f, name)

	back, err := s.client.RecoverDeletedSecret(ctx, name, nil)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	f.equal("id in the answer to recover", back.ID, made.ID)
	f.equal("value in the answer to recover", back.Value, nil)
	err = until(ctx, "wait for the recovery", func() error {
		got, err := s.client.GetSecret(ctx, name, "", nil)
		if err == nil {
			f.equal("value after recovery", got.Value, "two")
			f.equal("tag after recovery", got.Tags["t"], "1")
		}
		return err
	})
	if err != nil {
		return err
	}
	_, versions, err := collect(ctx, s.client.NewListSecretPropertiesVersionsPager(name, nil), versionsOf)
	f.equal("versions after recovery", len(versions), 2)
	_, missing := s.client.GetDeletedSecret(ctx, name, nil)
	f.refused("get deleted after recovery", missing, notFound)
	return err
}

// deleted looks at the answers that describe a deleted secret.
func (f *findings) deleted(what string, s *suite, got azsecrets.DeletedSecret, name string) {
	f.equal(what+": value", got.Value, nil)
	f.equal(what+": recovery id", got.RecoveryID, s.cfg.Vault+"/deletedsecrets/"+name)
	if got.DeletedDate == nil || got.ScheduledPurgeDate == nil {
		f.addf("%s: got no deletion or purge date", what)
		return
	}
	// The server shows both dates in whole seconds, the later one rounded up.
	if kept := got.ScheduledPurgeDate.Sub(*got.DeletedDate); kept < retention || kept > retention+time.Second {
		f.addf("%s: kept for %v, want %v", what, kept, retention)
	}
}

// whileDeleted tries what must not work on a deleted secret.
func (s *suite) whileDeleted(ctx context.Context, f *findings, name string) {
	_, err := s.client.GetSecret(ctx, name, "", nil)
	f.refused("get a deleted secret", err, notFound)
	_, err = s.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: ptr("x")}, nil)
	f.refused("set a deleted name", err, isDeleted)
	_, err = s.client.UpdateSecretProperties(ctx, name, "", azsecrets.UpdateSecretPropertiesParameters{ContentType: ptr("x")}, nil)
	f.refused("update a deleted secret", err, notFound)
	_, err = s.client.DeleteSecret(ctx, name, nil)
	f.refused("delete a deleted secret", err, notFound)
}

// purge removes a deleted secret for good: nothing brings it back, and its name is free.
func purge(ctx context.Context, s *suite, f *findings) error {
	const name = "purge"
	if err := s.set(ctx, name, "old"); err != nil {
		return err
	}
	_, err := s.client.PurgeDeletedSecret(ctx, name, nil)
	f.refused("purge a live secret", err, notFound)
	if _, err := s.client.DeleteSecret(ctx, name, nil); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if _, err := s.client.PurgeDeletedSecret(ctx, name, nil); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	_, err = s.client.GetDeletedSecret(ctx, name, nil)
	f.refused("get deleted after the purge", err, notFound)
	_, err = s.client.RecoverDeletedSecret(ctx, name, nil)
	f.refused("recover after the purge", err, notFound)
	if err := s.set(ctx, name, "new"); err != nil {
		return err
	}
	_, versions, err := collect(ctx, s.client.NewListSecretPropertiesVersionsPager(name, nil), versionsOf)
	f.equal("versions of the name used anew", len(versions), 1)
	return err
}

// backupAndRestore takes a secret of two versions away and brings it back from its backup.
func backupAndRestore(ctx context.Context, s *suite, f *findings) error {
	const name = "backup"
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := s.set(ctx, name, "one"); err != nil {
		return err
	}
	made, err := s.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{
		Value: ptr("two"), ContentType: ptr("ct"), Tags: map[string]*string{"t": ptr("1")},
		SecretAttributes: &azsecrets.SecretAttributes{Expires: &end},
	}, nil)
	if err != nil {
		return err
	}
	copied, err := s.client.BackupSecret(ctx, name, nil)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	blob := azsecrets.RestoreSecretParameters{SecretBackup: copied.Value}
	_, err = s.client.RestoreSecret(ctx, blob, nil)
	f.refused("restore over a live secret", err, conflict)
	if _, err := s.client.DeleteSecret(ctx, name, nil); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	_, err = s.client.RestoreSecret(ctx, blob, nil)
	f.refused("restore over a deleted secret", err, isDeleted)
	if _, err := s.client.PurgeDeletedSecret(ctx, name, nil); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	back, err := s.client.RestoreSecret(ctx, blob, nil)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	f.equal("id", back.ID, made.ID)
	f.equal("value in the answer to restore", back.Value, nil)
	f.equal("attributes", *back.Attributes, *made.Attributes)
	return s.afterRestore(ctx, f, name)
}

func (s *suite) afterRestore(ctx context.Context, f *findings, name string) error {
	got, err := s.client.GetSecret(ctx, name, "", nil)
	if err != nil {
		return fmt.Errorf("get after restore: %w", err)
	}
	f.equal("value after restore", got.Value, "two")
	f.equal("content type after restore", got.ContentType, "ct")
	f.equal("tag after restore", got.Tags["t"], "1")
	_, versions, err := collect(ctx, s.client.NewListSecretPropertiesVersionsPager(name, nil), versionsOf)
	f.equal("versions after restore", len(versions), 2)
	_, bad := s.client.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: []byte("no backup of ours")}, nil)
	f.refused("restore what is no backup", bad, badParameter)
	return err
}
