package dataplane

import (
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"strongroom/internal/envelope"
	"strongroom/internal/operation"
	"strongroom/internal/secrets"
	"strongroom/internal/vaults"
)

// A SecretSet is the body of PUT /secrets/{name}.
type SecretSet struct {
	Value       envelope.Value    `json:"value"` // required; may be ""
	ContentType *string           `json:"contentType"`
	Attributes  *AttributesChange `json:"attributes"`
	Tags        operation.Tags    `json:"tags"`
}

// A SecretUpdate is the body of PATCH /secrets/{name}/{version}.
type SecretUpdate struct {
	ContentType *string           `json:"contentType"`
	Attributes  *AttributesChange `json:"attributes"`
	Tags        *operation.Tags   `json:"tags"`
}

// An AttributesChange is what a request may say of attributes. What is absent stays, or has its
// default at creation; a date of null is cleared.
type AttributesChange struct {
	Enabled   *bool   `json:"enabled"`
	NotBefore IntDate `json:"nbf"`
	Expires   IntDate `json:"exp"`
}

// An IntDate is a date in whole seconds since 1970 that tells absent from null.
type IntDate secrets.Date

// UnmarshalJSONFrom takes a whole number or null, and nothing else.
func (d *IntDate) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var at *int64
	if err := json.UnmarshalDecode(dec, &at); err != nil {
		return errors.New("want whole seconds since 1970 or null")
	}
	*d = IntDate{Given: true, At: at}
	return nil
}

// Attributes are the attributes of an answer.
type Attributes struct {
	Enabled         bool   `json:"enabled"`
	NotBefore       *int64 `json:"nbf,omitzero"`
	Expires         *int64 `json:"exp,omitzero"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
}

// A SecretItem is a version of a secret without its value, as all but set and get answer it.
type SecretItem struct {
	ContentType *string           `json:"contentType,omitzero"`
	ID          string            `json:"id"`
	Attributes  Attributes        `json:"attributes"`
	Tags        map[string]string `json:"tags,omitzero"`
}

// A SecretBundle is a version with its value.
type SecretBundle struct {
	Value envelope.Revealed `json:"value"`
	SecretItem
}

// A DeletedSecretItem is a deleted secret with the data of its latest version.
type DeletedSecretItem struct {
	RecoveryID         string `json:"recoveryId"`
	DeletedDate        int64  `json:"deletedDate"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate"`
	SecretItem
}

// A SecretList is a page of secrets or versions.
type SecretList struct {
	Value    []SecretItem `json:"value"`
	NextLink *string      `json:"nextLink"`
}

// A DeletedSecretList is a page of deleted secrets.
type DeletedSecretList struct {
	Value    []DeletedSecretItem `json:"value"`
	NextLink *string             `json:"nextLink"`
}

// A BackupBlob is the answer of backup and the body of restore: base64url without padding.
type BackupBlob struct {
	Value string `json:"value"`
}

func newAttributes(v vaults.Vault, s secrets.Secret) Attributes {
	return Attributes{
		Enabled: s.Enabled, NotBefore: s.NotBefore, Expires: s.Expires,
		Created: s.Created.Unix(), Updated: s.Updated.Unix(),
		RecoveryLevel: v.RecoveryLevel(), RecoverableDays: v.RetentionDays,
	}
}

// newVersion is a version with its versioned id.
func newVersion(c *operation.Call, s secrets.Secret) SecretItem {
	item := newItem(c, s)
	item.ID += "/" + s.Version
	return item
}

// newItem is a version with the id of its secret, as lists of secrets show it.
func newItem(c *operation.Call, s secrets.Secret) SecretItem {
	return SecretItem{
		ContentType: s.ContentType, ID: c.BaseURL() + "/secrets/" + s.Name,
		Attributes: newAttributes(c.Vault, s), Tags: s.Tags,
	}
}

func newBundle(c *operation.Call, s secrets.Secret) SecretBundle {
	return SecretBundle{s.Value.ForAnswer(), newVersion(c, s)}
}

func newDeleted(c *operation.Call, d secrets.Deleted, item SecretItem) DeletedSecretItem {
	return DeletedSecretItem{
		RecoveryID:  c.BaseURL() + "/deletedsecrets/" + d.Name,
		DeletedDate: d.At.Unix(), ScheduledPurgeDate: d.Purge.Unix(), SecretItem: item,
	}
}

func (s SecretSet) draft() secrets.Draft {
	d := secrets.Draft{Value: s.Value, ContentType: s.ContentType, Tags: s.Tags}
	if a := s.Attributes; a != nil {
		d.Enabled, d.NotBefore, d.Expires = a.Enabled, a.NotBefore.At, a.Expires.At
	}
	return d
}

func (s SecretUpdate) patch() secrets.Patch {
	p := secrets.Patch{ContentType: s.ContentType, Tags: s.Tags.Change()}
	if a := s.Attributes; a != nil {
		p.Enabled, p.NotBefore, p.Expires = a.Enabled, secrets.Date(a.NotBefore), secrets.Date(a.Expires)
	}
	return p
}
