package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"net"
	"time"
)

const (
	rootYears  = 10
	belowYears = 1
	leafLife   = 90 * 24 * time.Hour

	// backdate is how far a client's clock may lag behind ours.
	backdate = time.Hour

	// maxLeaves bounds what strangers who ask for name after name can make us keep.
	maxLeaves = 256
)

// What a root may sign.
const (
	rootAlone = iota // leaves
	rootAbove        // authorities that sign leaves
)

// newRoot makes a certificate authority that can certify the domains and nothing else.
func newRoot(domains []string, now time.Time, signs int) (*pair, error) {
	return newAuthority(nil, "Strongroom local CA", domains, now.AddDate(rootYears, 0, 0), signs, now)
}

// newAuthority makes an authority below p, with the same bounds.
func (p *pair) newAuthority(domains []string, now time.Time) (*pair, error) {
	return newAuthority(p, "Strongroom run CA", domains, now.AddDate(belowYears, 0, 0), rootAlone, now)
}

func newAuthority(above *pair, name string, domains []string, end time.Time, signs int, now time.Time) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	// The name differs from authority to authority: verifiers look issuers up by name, and
	// after a replacement a trust store may hold both.
	template := &x509.Certificate{
		Subject: pkix.Name{
			Organization: []string{"Strongroom"},
			CommonName:   name + " " + hex.EncodeToString(id[:4]),
		},
		NotBefore:                   now.Add(-backdate),
		NotAfter:                    end,
		SubjectKeyId:                id,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLen:                  signs,
		MaxPathLenZero:              signs == rootAlone,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         domains,
		ExcludedIPRanges:            everyAddress(),
	}
	if above == nil {
		above = &pair{cert: template, key: key}
	}
	return signed(template, above, key)
}

// everyAddress is excluded because permitted names say nothing about IP addresses: without
// it the root could certify any of them.
func everyAddress() []*net.IPNet {
	return []*net.IPNet{
		{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
	}
}

// newLeaf makes a server certificate for one name, which may be a wildcard.
func (p *pair) newLeaf(name string, now time.Time) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Strongroom"}},
		DNSNames:              []string{name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              earlier(now.Add(leafLife), p.cert.NotAfter),
		SubjectKeyId:          id,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	return signed(template, p, key)
}

// signed has issuer sign a certificate for key. The serial number is random.
func signed(template *x509.Certificate, issuer *pair, key *ecdsa.PrivateKey) (*pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, &key.PublicKey, issuer.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &pair{cert: cert, key: key}, nil
}

// keyID is the subject key identifier of RFC 7093 section 2, method 1. SHA-1, the usual
// method, is not allowed everywhere.
func keyID(key *ecdsa.PrivateKey) ([]byte, error) {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(point)
	return sum[:20], nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// A leaf is a minted certificate in memory.
type leaf struct {
	cert *tls.Certificate
	used uint64
}

// cached returns the certificate for name, or nil if there is none or its time for renewal
// has come. A certificate that ends with the authority is kept to the last: another would
// live no longer.
func (c *CA) cached(name string) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.leaves[name]
	if known == nil {
		return nil
	}
	from, to := known.cert.Leaf.NotBefore, known.cert.Leaf.NotAfter
	if to.Sub(c.now()) < to.Sub(from)/3 && to.Before(c.cert.NotAfter) {
		return nil
	}
	c.uses++
	known.used = c.uses
	return known.cert
}

// renew mints a certificate for name and keeps it, unless another call just did.
func (c *CA) renew(name string) (*tls.Certificate, error) {
	if cert := c.cached(name); cert != nil {
		return cert, nil
	}
	made, err := (&pair{cert: c.cert, key: c.key}).newLeaf(name, c.now())
	if err != nil {
		return nil, fmt.Errorf("mint certificate for %q: %w", name, err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{made.cert.Raw}, PrivateKey: made.key, Leaf: made.cert}
	if c.cert != c.root {
		cert.Certificate = append(cert.Certificate, c.cert.Raw)
	}
	c.keep(name, cert)
	return cert, nil
}

func (c *CA) keep(name string, cert *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.leaves[name]; !known && len(c.leaves) >= maxLeaves {
		c.dropOldest()
	}
	c.uses++
	c.leaves[name] = &leaf{cert: cert, used: c.uses}
}

// dropOldest forgets the certificate that was not asked for longest. The caller holds mu.
func (c *CA) dropOldest() {
	var oldest string
	least := c.uses + 1
	for name, known := range c.leaves {
		if known.used < least {
			oldest, least = name, known.used
		}
	}
	delete(c.leaves, oldest)
}
