package dataplane

import (
	"context"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/operation"
	"strongroom/internal/secrets"
	"strongroom/internal/vaults"
)

// maxPage is the default and the largest number of items on a page (Key Vault REST, maxresults).
const maxPage = 25

func (f *face) listSecrets(ctx context.Context, c *operation.Call, _ operation.None) (SecretList, error) {
	items, next, err := list(ctx, f, c, "", f.secrets.List, func(s secrets.Secret) string { return strings.ToLower(s.Name) })
	return SecretList{convert(c, items, newItem), next}, err
}

func (f *face) listVersions(ctx context.Context, c *operation.Call, _ operation.None) (SecretList, error) {
	n, err := name(c)
	if err != nil {
		return SecretList{}, err
	}
	read := func(tx *db.Tx, v vaults.Vault, p secrets.Page) ([]secrets.Secret, error) {
		return f.secrets.Versions(tx, v, n, p)
	}
	items, next, err := list(ctx, f, c, strings.ToLower(n), read, func(s secrets.Secret) string { return s.Version })
	return SecretList{convert(c, items, newVersion), next}, err
}

func (f *face) listDeletedSecrets(ctx context.Context, c *operation.Call, _ operation.None) (DeletedSecretList, error) {
	items, next, err := list(ctx, f, c, "", f.secrets.ListDeleted, func(d secrets.Deleted) string { return strings.ToLower(d.Name) })
	item := func(c *operation.Call, d secrets.Deleted) DeletedSecretItem {
		return newDeleted(c, d, newItem(c, d.Secret))
	}
	return DeletedSecretList{convert(c, items, item), next}, err
}

func convert[T, W any](c *operation.Call, items []T, wire func(*operation.Call, T) W) []W {
	out := make([]W, len(items))
	for i, item := range items {
		out[i] = wire(c, item)
	}
	return out
}

// list reads one page: one item more than asked for tells whether there is another page. within
// narrows what the skip token is good for beyond vault and operation.
func list[T any](ctx context.Context, f *face, c *operation.Call, within string,
	read func(*db.Tx, vaults.Vault, secrets.Page) ([]T, error), key func(T) string,
) (items []T, next *string, err error) {
	limit, err := pageSize(c)
	if err != nil {
		return nil, nil, err
	}
	after, err := f.skipped(c, within)
	if err != nil {
		return nil, nil, err
	}
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		items, err = read(tx, c.Vault, secrets.Page{After: after, Limit: limit + 1})
		return err
	})
	if err != nil || len(items) <= limit {
		return items, nil, err
	}
	items = items[:limit]
	link := f.nextLink(c, within, key(items[limit-1]))
	return items, &link, nil
}

func pageSize(c *operation.Call) (int, error) {
	text := c.Query.Get("maxresults")
	if text == "" {
		return maxPage, nil
	}
	n, err := strconv.ParseUint(text, 10, 8) // takes no sign
	if err != nil || n < 1 || n > maxPage {
		return 0, apierr.BadRequest("BadParameter", "maxresults: want a whole number from 1 to %d.", maxPage)
	}
	return int(n), nil
}

// tokenPurpose binds a skip token to its format, the vault and the operation.
func tokenPurpose(c *operation.Call, within string) string {
	return strings.Join([]string{"skip token 1", c.Vault.ID, c.Op.Name, within}, "\x00")
}

// skipped returns the key after which the page begins.
func (f *face) skipped(c *operation.Call, within string) (string, error) {
	text := c.Query.Get("$skiptoken")
	if text == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", badToken()
	}
	after, err := f.ring.OpenToken(tokenPurpose(c, within), raw)
	if err != nil {
		return "", badToken()
	}
	return string(after), nil
}

func badToken() error {
	return apierr.BadRequest("BadParameter", "$skiptoken: want the token of a nextLink of this list.")
}

// nextLink is absolute and holds all that the next request needs; clients follow it literally. It
// names the port always, as recorded of the service.
func (f *face) nextLink(c *operation.Call, within, after string) string {
	token := base64.RawURLEncoding.EncodeToString(f.ring.Token(tokenPurpose(c, within), []byte(after)))
	base := c.BaseURL()
	if !strings.Contains(c.Host.Text, ":") {
		base += ":443"
	}
	link := base + c.Path() + "?api-version=" + url.QueryEscape(c.Version.Text) + "&$skiptoken=" + token
	if n := c.Query.Get("maxresults"); n != "" {
		link += "&maxresults=" + url.QueryEscape(n)
	}
	return link
}
