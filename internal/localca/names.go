package localca

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// cleanDomains brings domains into the form that certificates and comparisons use.
func cleanDomains(domains []string) ([]string, error) {
	if len(domains) == 0 {
		return nil, errors.New("local CA: want at least one domain to certify")
	}
	var clean []string
	for _, domain := range domains {
		name, ok := cleanName(domain)
		if !ok {
			return nil, fmt.Errorf("local CA domain %q: want a host name such as \"vault.example\"", domain)
		}
		if !slices.Contains(clean, name) {
			clean = append(clean, name)
		}
	}
	return clean, nil
}

// cleanName lowers a host name and drops one trailing dot. It reports false for what is not
// a host name of letters, digits and hyphens (RFC 1123), and for IP addresses.
func cleanName(s string) (string, bool) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if len(name) > 253 {
		return "", false
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return "", false
		}
	}
	return name, true
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// within reports whether name is one of domains or lies below one.
func within(name string, domains []string) bool {
	return slices.ContainsFunc(domains, func(domain string) bool {
		return name == domain || strings.HasSuffix(name, "."+domain)
	})
}
