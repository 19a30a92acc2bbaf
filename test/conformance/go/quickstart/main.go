// A program as the Go quickstart of Azure Key Vault secrets has it: the default credential, the
// address of the vault in the code, and no other option. It prints what it did.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

const (
	vaultURL = "https://contoso-payroll.vault.azure.net"
	name     = "quickstart-go"
	value    = "created with Go"
)

func main() {
	log.SetFlags(0)
	if err := quickstart(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func quickstart(ctx context.Context) error {
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return err
	}
	client, err := azsecrets.NewClient(vaultURL, cred, nil)
	if err != nil {
		return err
	}
	set, err := client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: to.Ptr(value)}, nil)
	if err != nil {
		return fmt.Errorf("set: %w", err)
	}
	fmt.Println("set", set.ID.Name())
	got, err := client.GetSecret(ctx, name, "", nil)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	fmt.Println("got", *got.Value)
	for pager := client.NewListSecretPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		for _, s := range page.Value {
			if s.ID.Name() == name {
				fmt.Println("listed", s.ID.Name())
			}
		}
	}
	if _, err := client.DeleteSecret(ctx, name, nil); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	fmt.Println("deleted", name)
	if _, err := client.RecoverDeletedSecret(ctx, name, nil); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	fmt.Println("recovered", name)
	if _, err := client.DeleteSecret(ctx, name, nil); err != nil {
		return fmt.Errorf("delete again: %w", err)
	}
	for try := 0; ; try++ { // as the quickstart does: the service takes a while
		if _, err = client.PurgeDeletedSecret(ctx, name, nil); err == nil || try == 10 {
			break
		}
		time.Sleep(time.Second)
	}
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	fmt.Println("purged", name)
	return nil
}
