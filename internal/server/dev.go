package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// devName is what dev calls its vault and its identity.
const devName = "dev"

// devAssignment is the fixed id of dev's role assignment, so that making it twice changes nothing.
const devAssignment = "de500000-0000-4000-8000-000000000001"

// makeDev makes the vault dev, the managed identity dev, and its right to use the vault, if they
// are not there yet; it returns the identity's client id. It asks for them through the pipeline
// as the local owner, like anybody would.
func (a *app) makeDev(ctx context.Context) (clientID string, err error) {
	if clientID, err := a.findDev(ctx); err != nil || clientID != "" {
		return clientID, err
	}
	group := resource.Group(a.deployment.subscription, a.deployment.group).Text
	vault := resource.VaultScope(a.deployment.subscription, a.deployment.group, devName).Text
	identityPath := group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + devName

	if err := a.ask(ctx, http.MethodGet, vault, "2026-02-01", nil, nil); err != nil {
		if err := a.makeDevVault(ctx, vault); err != nil {
			return "", fmt.Errorf("make the vault %s: %w", devName, err)
		}
	}
	var made struct {
		Properties struct{ ClientID, PrincipalID string }
	}
	if err := a.ask(ctx, http.MethodPut, identityPath, "2024-11-30", map[string]any{"location": a.config.Region}, &made); err != nil {
		return "", fmt.Errorf("make the identity %s: %w", devName, err)
	}
	err = a.ask(ctx, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/"+devAssignment, "2022-04-01",
		map[string]any{"properties": map[string]any{
			"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + authz.RoleAdministrator,
			"principalId":      made.Properties.PrincipalID,
		}}, nil)
	if err != nil {
		return "", fmt.Errorf("let the identity %s use the vault: %w", devName, err)
	}
	err = a.db.Update(ctx, nil, func(tx *db.Tx) error { return tx.SetMeta(metaDefaultIdentity, made.Properties.PrincipalID) })
	return made.Properties.ClientID, err
}

// findDev returns the client id of the identity dev, if an earlier start has made all that dev needs.
func (a *app) findDev(ctx context.Context) (clientID string, err error) {
	err = a.db.View(ctx, func(tx *db.Tx) error {
		objectID, err := tx.Meta(metaDefaultIdentity)
		if err != nil {
			return err
		}
		v, err := a.scheduler.Vaults.Named(tx, devName)
		if _, refused := apierr.As(err); refused {
			return nil
		}
		if err != nil {
			return err
		}
		rights, err := a.pipeline.Authz.Current(tx)
		if err != nil {
			return err
		}
		p, known := rights.Principal(objectID)
		all := authz.Need{Action: "Microsoft.KeyVault/vaults/secrets/purge/action", Data: true, Scope: v.Scope()}
		if known && p.Enabled && p.Name == devName && rights.Decide(objectID, all).Allowed {
			clientID = p.AppID
		}
		return nil
	})
	return clientID, err
}

// makeDevVault makes the vault dev, or brings it back if it was deleted.
func (a *app) makeDevVault(ctx context.Context, vault string) error {
	properties := map[string]any{
		"tenantId": a.deployment.tenant, "sku": map[string]string{"family": "A", "name": "standard"}, "enableRbacAuthorization": true,
	}
	deleted := "/subscriptions/" + a.deployment.subscription + "/providers/Microsoft.KeyVault/locations/" + a.config.Region + "/deletedVaults/" + devName
	if a.ask(ctx, http.MethodGet, deleted, "2026-02-01", nil, nil) == nil {
		properties["createMode"] = "recover"
	}
	body := map[string]any{"location": a.config.Region, "properties": properties}
	return a.ask(ctx, http.MethodPut, vault, "2026-02-01", body, nil)
}

// ask sends a management request from inside, as the local owner.
func (a *app) ask(ctx context.Context, method, path, version string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp := a.pipeline.Do(ctx, a.faces[resource.Management], &operation.Request{
		Method: method, Path: path, Query: "api-version=" + version, Header: http.Header{},
		Body: bytes.NewReader(b), Host: a.families[0].ManagementHost(), Caller: operation.LocalOwner(),
	})
	if resp.Status >= 300 {
		return fmt.Errorf("status %d: %s", resp.Status, resp.Body)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(resp.Body, answer, json.MatchCaseInsensitiveNames(true))
}
