// Package secrets holds the rules of secrets: versions, attributes, soft deletion and backup.
//
// A secret is a head row (its name, the ordinal of its newest version, whether it is deleted)
// and one row per version. "Latest" is the highest ordinal, never the latest clock. Every row
// carries a MAC over all its columns, and a version's value is sealed under the vault's data key
// and bound to vault, name, version and ordinal: a writer to the database can neither change an
// attribute nor serve yesterday's value under today's version unnoticed.
//
// All functions take the vault as the pipeline found it; rights are judged before they run.
package secrets

import (
	"regexp"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/envelope"
	"strongroom/internal/resource"
)

// Limits of a secret (Key Vault service limits, "Secrets").
const (
	MaxValue       = 25600 // bytes of UTF-8
	MaxContentType = 255   // characters
	MaxTags        = 15
	MaxTagText     = 512 // characters of a tag's name and of its value
	MaxBackup      = 500 // versions in a backup
)

// MaxDate is the last second that a date attribute can name: the end of the year 9999.
const MaxDate = 253402300799

// A Store keeps secrets. It may be shared.
type Store struct {
	Ring   *envelope.Ring
	Tenant string

	answers cache
}

// A Secret is one version of a secret.
type Secret struct {
	Name        string // as it was first written; names compare without letter case
	Version     string // 32 lower-case hex characters
	Enabled     bool
	NotBefore   *int64 // seconds since 1970, nil if never set
	Expires     *int64
	Created     time.Time
	Updated     time.Time
	ContentType *string
	Tags        map[string]string // nil if never set
	Value       envelope.Value    // set by Set and Get only

	ordinal int64
	sealed  []byte
	mac     []byte // of its row; nil for one that is not stored yet
}

// A Deleted secret shows the data of its latest version, never a value.
type Deleted struct {
	Secret
	At    time.Time
	Purge time.Time // when it goes for good
}

// A Draft is what a new version is made of; nothing is inherited from an older one.
type Draft struct {
	Value       envelope.Value
	Enabled     *bool // nil means true
	NotBefore   *int64
	Expires     *int64
	ContentType *string
	Tags        map[string]string
}

// A Patch changes a version's attributes; nil and absent leave as they are.
type Patch struct {
	Enabled     *bool
	NotBefore   Date
	Expires     Date
	ContentType *string
	Tags        *map[string]string // replaces the whole map
}

// A Date is a change of a date attribute: none, a new value, or (Given with a nil At) cleared.
type Date struct {
	Given bool
	At    *int64
}

// versionID matches what NewVersion makes, in any letter case.
var versionID = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)

// CheckName refuses what can't name a secret.
func CheckName(name string) error {
	if !resource.IsObjectName(name) {
		return apierr.BadRequest("BadParameter", "The request URI contains an invalid name: %s", printable(name))
	}
	return nil
}

// printable keeps a refused name from carrying control characters into an answer.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return s
}

// Check refuses a draft that breaks a limit, before any transaction.
func (d Draft) Check() error {
	if d.Value.Reveal() == nil {
		return badValue("value is missing")
	}
	if d.Value.Len() > MaxValue {
		return apierr.BadRequest("BadParameter", "Secret is beyond the maximum permitted length of %d characters.", MaxValue)
	}
	return checkAttributes(d.NotBefore, d.Expires, d.ContentType, d.Tags)
}

// Check refuses a patch that breaks a limit.
func (p Patch) Check() error {
	var tags map[string]string
	if p.Tags != nil {
		tags = *p.Tags
	}
	return checkAttributes(p.NotBefore.At, p.Expires.At, p.ContentType, tags)
}

func checkAttributes(notBefore, expires *int64, contentType *string, tags map[string]string) error {
	for name, at := range map[string]*int64{"attributes.nbf": notBefore, "attributes.exp": expires} {
		if at != nil && (*at < 0 || *at > MaxDate) {
			return badValue("%s is no date between 1970 and 9999", name)
		}
	}
	if contentType != nil && len([]rune(*contentType)) > MaxContentType {
		return badValue("contentType has more than %d characters", MaxContentType)
	}
	if contentType != nil && strings.Contains(*contentType, "\x00") { // PostgreSQL's texts do not hold it
		return badValue("contentType has the character U+0000")
	}
	if len(tags) > MaxTags {
		return badValue("there are %d tags; want at most %d", len(tags), MaxTags)
	}
	for name, value := range tags {
		if len([]rune(name)) > MaxTagText || len([]rune(value)) > MaxTagText {
			return badValue("a tag's name or value has more than %d characters", MaxTagText)
		}
	}
	return nil
}

// badValue is Azure's refusal of any faulty member, with the fault behind it.
func badValue(format string, args ...any) error {
	return apierr.BadRequest("BadParameter", "Property has invalid value\r\n"+format+".", args...)
}

func notFound(name, version string) error {
	id := name
	if version != "" {
		id += "/" + version
	}
	return apierr.NotFound("SecretNotFound", "A secret with (name/id) %s was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", printable(id))
}

func deletedNotFound(name string) error {
	return apierr.NotFound("SecretNotFound", "Deleted Secret not found: %s", printable(name))
}

func recoverable(name string) error {
	return apierr.Conflict("ObjectIsDeletedButRecoverable", "Secret %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged.", name)
}
