package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"strongroom/internal/config"
	"strongroom/internal/localca"
)

// renewWithin is how long before its end a certificate is to be renewed.
const renewWithin = 14 * 24 * time.Hour

func checkTLS(cfg config.Config, now time.Time) Finding {
	const subject = "tls.certificate_file"
	file := cfg.TLS.CertificateFile
	if file == "" {
		return checkOwnAuthority(cfg, now)
	}
	chain, err := readChain(file)
	if err != nil {
		return bad(subject, "give a PEM certificate, leaf first, and its intermediates", "%v", err)
	}
	leaf := chain[0]
	for i := range len(chain) - 1 {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return bad(subject, "put the leaf first, and behind each certificate the one that signed it",
				"the chain is out of order: %q is not signed by %q, which comes next", chain[i].Subject, chain[i+1].Subject)
		}
	}
	if _, err := tls.LoadX509KeyPair(file, cfg.TLS.KeyFile); err != nil {
		return bad("tls.key_file", "give the PEM key that belongs to the first certificate of tls.certificate_file", "%v", err)
	}
	switch {
	case now.Before(leaf.NotBefore):
		return bad(subject, "set the clock right (timedatectl set-ntp true), or wait", "it does not hold before %s", leaf.NotBefore.Format(time.RFC3339))
	case now.After(leaf.NotAfter):
		return bad(subject, "renew the certificate and send SIGHUP", "it ended on %s", leaf.NotAfter.Format(time.DateOnly))
	case leaf.NotAfter.Sub(now) < renewWithin:
		return bad(subject, "renew the certificate and send SIGHUP", "it ends on %s", leaf.NotAfter.Format(time.DateOnly))
	}
	if missing := missingNames(cfg, leaf); len(missing) > 0 {
		return bad(subject, "get a certificate that names "+strings.Join(missing, ", ")+" too", "it lacks names: %s", strings.Join(missing, ", "))
	}
	return good(subject, "covers all names until %s", leaf.NotAfter.Format(time.DateOnly))
}

// readChain reads the certificates of a PEM file, of which there is at least one.
func readChain(file string) (chain []*x509.Certificate, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of %s: %w", len(chain)+1, file, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s has no PEM certificate", file)
	}
	return chain, nil
}

// missingNames are those of the faces that a certificate does not cover.
func missingNames(cfg config.Config, leaf *x509.Certificate) (missing []string) {
	for _, f := range cfg.Families() {
		for _, n := range []struct{ name, example string }{
			{"*." + f.VaultSuffix, "x." + f.VaultSuffix},
			{f.Login, f.Login},
			{f.Management, f.Management},
			{f.Graph, f.Graph},
		} {
			if leaf.VerifyHostname(n.example) != nil {
				missing = append(missing, n.name)
			}
		}
	}
	return missing
}

// checkOwnAuthority looks at the local authority, which a start renews in time.
func checkOwnAuthority(cfg config.Config, now time.Time) Finding {
	const subject = "tls"
	file := filepath.Join(cfg.DataDir, localca.File)
	if !exists(file) {
		return good(subject, "no certificate is given: the first start makes a local authority in data_dir")
	}
	chain, err := readChain(file)
	if err != nil {
		return bad(subject, "remove ca.pem and ca-key.pem and start the server, which makes new ones", "%v", err)
	}
	if now.After(chain[0].NotAfter) {
		return bad(subject, "start the server again, and have clients trust the new ca.pem", "the local authority ended on %s", chain[0].NotAfter.Format(time.DateOnly))
	}
	return good(subject, "no certificate is given: the local authority in data_dir serves, until %s", chain[0].NotAfter.Format(time.DateOnly))
}
