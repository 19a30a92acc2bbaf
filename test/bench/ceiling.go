package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
)

// ceilingCommand is the first argument by which this program serves instead of measuring.
const ceilingCommand = "ceiling"

// A reply is what the ceiling answers: the server's own answer to the same request.
type reply struct {
	Status int
	Header [][2]string
	Body   []byte
}

// replies are found by method and target.
type replies map[string]map[string]reply

// newReply repeats an answer but for what net/http adds by itself, as it did for the server.
func newReply(a *answer) reply {
	r := reply{Status: a.status, Body: bytes.Clone(a.body)}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(a.header, []byte("\n")), []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch http.CanonicalHeaderKey(string(name)) {
		case "Date", "Transfer-Encoding", "Content-Length":
			continue
		}
		r.Header = append(r.Header, [2]string{string(name), string(bytes.TrimSpace(value))})
	}
	return r
}

// serveCeiling is the child process: arguments are the address, and the files of certificate, key
// and replies. It ends with its standard input.
func serveCeiling(args []string) error {
	if len(args) != 4 {
		return errors.New("ceiling: want address, certificate, key and replies")
	}
	var all replies
	if err := readTold(args[3], &all); err != nil {
		return err
	}
	s := &http.Server{
		Addr: args[0], Handler: all.handler(),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}},
	}
	return s.ListenAndServeTLS(args[1], args[2])
}

// handler does nothing but answer. What can be prepared is.
func (all replies) handler() http.Handler {
	type ready struct {
		status int
		header http.Header
		body   []byte
	}
	prepared := map[string]map[string]ready{}
	for method, targets := range all {
		prepared[method] = map[string]ready{}
		for target, r := range targets {
			h := http.Header{}
			for _, field := range r.Header {
				h.Add(field[0], field[1])
			}
			prepared[method][target] = ready{r.Status, h, r.Body}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := prepared[r.Method][r.RequestURI]
		if !ok {
			http.Error(w, "the ceiling was not told what to answer", http.StatusNotFound)
			return
		}
		io.Copy(io.Discard, r.Body)
		h := w.Header()
		for name, values := range answer.header {
			h[name] = values
		}
		w.WriteHeader(answer.status)
		w.Write(answer.body)
	})
}

// learn asks the server each request of a load once and keeps the answers.
func learn(t *target) (replies, error) {
	c, err := t.dial(time.Now().Add(patience))
	if err != nil {
		return nil, err
	}
	defer c.close()
	all := replies{}
	for _, q := range t.load.all() {
		a, err := c.must(q)
		if err != nil {
			return nil, err
		}
		if all[q.method] == nil {
			all[q.method] = map[string]reply{}
		}
		all[q.method][q.target] = newReply(a)
	}
	return all, nil
}

// A ceiling is the bare handler with what it answers, ready to be started.
type ceiling struct {
	b        *bench
	endpoint endpoint
	args     []string
}

// newCeiling prepares a ceiling for what the server answers to its load.
func (b *bench) newCeiling(server *target) (*ceiling, error) {
	all, err := learn(server)
	if err != nil {
		return nil, fmt.Errorf("learn what the ceiling answers: %w", err)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.scratch, "replies.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c := &ceiling{b: b, endpoint: server.endpoint}
	c.endpoint.address = address
	host, _, _ := net.SplitHostPort(server.host)
	c.endpoint.tls, err = makeCertificate(host, filepath.Join(b.scratch, "ceiling.crt"), filepath.Join(b.scratch, "ceiling.key"))
	c.args = []string{ceilingCommand, address, filepath.Join(b.scratch, "ceiling.crt"), filepath.Join(b.scratch, "ceiling.key"), file}
	return c, err
}

// start starts the process; it may not listen yet.
func (c *ceiling) start() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return c.b.start(self, c.args...)
}

// run starts the process and waits until it answers.
func (c *ceiling) run(ctx context.Context, l load) (*process, *target, error) {
	p, err := c.start()
	if err != nil {
		return nil, nil, err
	}
	t := &target{endpoint: c.endpoint, pid: p.pid(), load: l}
	if err := t.waitFirst(ctx, p); err != nil {
		p.stop()
		return nil, nil, fmt.Errorf("start the ceiling: %w", err)
	}
	return p, t, nil
}

// makeCertificate writes a certificate for the host and its key, of the kind that the server's own
// authority issues, and returns what a client needs to trust it.
func makeCertificate(host, certificateFile, keyFile string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certificateFile, certificate, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return nil, err
	}
	return trust(certificate, host)
}

// trust makes a client's configuration that trusts only these certificates, for that host.
func trust(certificates []byte, host string) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certificates) {
		return nil, errors.New("no certificate to trust")
	}
	return &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}, nil
}
