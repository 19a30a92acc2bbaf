// Package localca is where the server's TLS certificates come from: a certificate authority
// of its own, or files that the operator gives.
//
// The authority serves "dev", and "serve" without TLS files. People put its certificate into
// trust stores, so the threat is its key: whoever copies it could impersonate other sites to
// everyone who trusts us. Three things bound that. The root is name-constrained (critical) to
// the domains it was made for and excludes every IP address, so a stolen key forges our own
// names only, where verifiers honour constraints on a root (Java does not). The key never
// leaves its folder: it is written once with mode 0600 and refused if others may read it.
// Leaf keys live in memory only and are minted for names inside the domains, never for what
// a stranger happens to ask.
//
//	ca.pem       the root certificate, PEM, mode 0644
//	ca-key.pem   its key, PKCS#8 PEM, mode 0600
//	*.old-TIME   earlier ones, set aside when domains or dates made a new one necessary
//
// A program under "strongroom run" trusts an authority of its own, which lives in memory for as long
// as the run does (InMemory).
package localca

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// A CA mints leaf certificates for the names in its domains. It may be shared; Default and
// Wildcards are set, if at all, before the first handshake.
type CA struct {
	// Default is the name served to a client that sends no server name (an IP address in the
	// URL, a bare health probe). Empty means the first domain.
	Default string

	// Wildcards are names such as "*.vault.localhost": a name directly below such a parent
	// gets the wildcard's certificate, so that thousands of vaults share one. Every other
	// name gets a certificate of its own.
	Wildcards []string

	root    *x509.Certificate // what people trust
	cert    *x509.Certificate // what signs leaves: the root, or an authority below it
	key     *ecdsa.PrivateKey // of cert
	domains []string
	made    bool
	now     func() time.Time

	minting singleflight.Group

	mu     sync.Mutex
	leaves map[string]*leaf // guarded by mu, at most maxLeaves
	uses   uint64           // guarded by mu, a clock for "least recently used"
}

// Open loads the authority kept in dir, or makes it. The domains are what it may certify,
// each with all names below; "localhost" covers "dev.vault.localhost". A stored authority
// that does not permit all of them, or that ends within 30 days, is set aside and replaced
// (Made then reports true: people must trust it anew). Files that contradict each other, or
// a key that others may read, are an error, since only a person can say which is right.
//
// One process at a time may open a folder: the server holds its data folder before it calls.
// If the process dies at any point in here, the next Open succeeds: the key is published
// before its certificate, and a key without certificate was never trusted by anyone.
func Open(dir string, domains []string, now func() time.Time) (*CA, error) {
	wanted, err := cleanDomains(domains)
	if err != nil {
		return nil, err
	}
	store := store{dir: dir, now: now}
	pair, err := store.load()
	if err != nil {
		return nil, err
	}
	made := pair == nil || !pair.serves(wanted, now())
	if made {
		if pair, err = store.replace(wanted); err != nil {
			return nil, err
		}
	}
	return &CA{
		root: pair.cert, cert: pair.cert, key: pair.key, domains: wanted, made: made, now: now,
		leaves: make(map[string]*leaf),
	}, nil
}

// InMemory makes an authority that is kept nowhere. What signs is not the root, whose key is thrown away
// at once, but an authority below it, since some verifiers honour name constraints only there. It ends
// after a year.
func InMemory(domains []string, now func() time.Time) (*CA, error) {
	wanted, err := cleanDomains(domains)
	if err != nil {
		return nil, err
	}
	root, err := newRoot(wanted, now(), rootAbove)
	if err != nil {
		return nil, fmt.Errorf("make the authority of a run: %w", err)
	}
	below, err := root.newAuthority(wanted, now())
	if err != nil {
		return nil, fmt.Errorf("make the authority of a run: %w", err)
	}
	return &CA{
		root: root.cert, cert: below.cert, key: below.key, domains: wanted, made: true, now: now,
		leaves: make(map[string]*leaf),
	}, nil
}

// CertificatePEM is the root certificate, for trust stores. It holds no key.
func (c *CA) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.root.Raw})
}

// GetCertificate is for tls.Config. It refuses a server name outside the domains, which ends
// the handshake; without a server name it serves Default.
func (c *CA) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, err := c.nameFor(hello.ServerName)
	if err != nil {
		return nil, err
	}
	if cert := c.cached(name); cert != nil {
		return cert, nil
	}
	cert, err, _ := c.minting.Do(name, func() (any, error) { return c.renew(name) })
	if err != nil {
		return nil, err
	}
	return cert.(*tls.Certificate), nil
}

// nameFor is the name in the certificate for a server name: a wildcard or the name itself.
func (c *CA) nameFor(serverName string) (string, error) {
	if serverName == "" {
		serverName = c.defaultName()
	}
	name, ok := cleanName(serverName)
	if !ok {
		return "", fmt.Errorf("server name of %d bytes: want a host name", len(serverName))
	}
	if !within(name, c.domains) {
		return "", fmt.Errorf("server name %q: want a name in %s", name, strings.Join(c.domains, ", "))
	}
	_, parent, _ := strings.Cut(name, ".")
	if wildcard := "*." + parent; slices.Contains(c.Wildcards, wildcard) && within(parent, c.domains) {
		return wildcard, nil
	}
	return name, nil
}

func (c *CA) defaultName() string {
	if c.Default != "" {
		return c.Default
	}
	return c.domains[0]
}
