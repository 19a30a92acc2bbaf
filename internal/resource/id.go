package resource

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
)

// A Scope is an ARM scope: "/", a management group, a subscription, a resource group, a vault,
// or one object of a vault. Text keeps the letters that the caller or the store used; Key is
// its lower-case form, by which scopes compare.
type Scope struct{ Text string }

// Root is the scope above everything.
var Root = Scope{"/"}

// Key is the form by which scopes compare: lower case, no slash at the end.
func (s Scope) Key() string {
	k := strings.ToLower(strings.TrimRight(s.Text, "/"))
	if k == "" {
		return "/"
	}
	return k
}

// Covers says whether a right given at s holds at the scope with the key below: s is the same
// scope or one above it.
func (s Scope) Covers(below string) bool { return Covers(s.Key(), below) }

// Covers is Scope.Covers for keys of both. A management group covers every subscription of the
// tenant, since a deployment has one tenant.
func Covers(key, below string) bool {
	if key == "/" || key == below {
		return true
	}
	if strings.HasPrefix(key, "/providers/microsoft.management/managementgroups/") {
		return strings.HasPrefix(below, "/subscriptions/")
	}
	return strings.HasPrefix(below, key) && below[len(key)] == '/'
}

// Subscription returns the scope of a subscription.
func Subscription(id string) Scope { return Scope{"/subscriptions/" + id} }

// Group returns the scope of a resource group.
func Group(subscription, group string) Scope {
	return Scope{"/subscriptions/" + subscription + "/resourceGroups/" + group}
}

// VaultScope returns the scope of a vault.
func VaultScope(subscription, group, vault string) Scope {
	return Scope{Group(subscription, group).Text + "/providers/Microsoft.KeyVault/vaults/" + vault}
}

// Object returns the scope of an object below a vault's scope; collection is secrets, keys or
// certificates.
func (s Scope) Object(collection, name string) Scope {
	return Scope{s.Text + "/" + collection + "/" + name}
}

// IsGUID says whether s is a GUID in the form 8-4-4-4-12, in any letter case.
func IsGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		isHyphen := i == 8 || i == 13 || i == 18 || i == 23
		if isHyphen != (c == '-') || !isHyphen && !isHex(c) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// assignable matches the scopes at which a role can be assigned. Management groups and resource
// groups are named by the same characters (Azure naming rules). It is large, and a start does without.
var assignable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(assignablePattern) })

const assignablePattern = `(?i)^(/|/providers/Microsoft\.Management/managementGroups/[-\w.()]{1,90}` +
	`|/subscriptions/[0-9a-f-]{36}(/resourceGroups/[-\w.()]{1,90}(/providers/Microsoft\.KeyVault/vaults/[0-9a-z-]{3,24}` +
	`(/(secrets|keys|certificates)/[0-9a-z-]{1,127})?)?)?)$`

// ParseScope reads a scope at which a role can be assigned.
func ParseScope(text string) (Scope, bool) {
	if text == "" {
		return Root, true
	}
	if text != "/" {
		text = strings.TrimRight(text, "/")
	}
	return Scope{text}, isASCII(text) && assignable().MatchString(text)
}

// isASCII keeps out letters that only look or fold like those of a name, as the Kelvin sign does.
func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

var newVault = regexp.MustCompile(`^[a-zA-Z][0-9a-zA-Z-]{1,22}[0-9a-zA-Z]$`)

// IsObjectName says whether s can name a secret, key or certificate: 1 to 127 characters of
// [0-9a-zA-Z-] (Key Vault REST, "Objects, identifiers, and versioning").
func IsObjectName(s string) bool { return len(s) >= 1 && len(s) <= 127 && isName(s, "-") }

// IsVaultName says whether a vault may be created under s: 3 to 24 characters of
// [0-9a-zA-Z-], begins with a letter, ends with a letter or digit, no two hyphens in a row.
func IsVaultName(s string) bool { return newVault.MatchString(s) && !strings.Contains(s, "--") }
