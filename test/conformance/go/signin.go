package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// A suite is what the cases share.
type suite struct {
	cfg      config
	client   *azsecrets.Client // of the identity that may use the vault
	stranger *azsecrets.Client // of one without any right
	seen     *observer
}

func newSuite(cfg config) (*suite, error) {
	s := &suite{cfg: cfg, seen: &observer{}}
	cred, err := cfg.credential()
	if err != nil {
		return nil, err
	}
	if s.client, err = s.newClient(cred); err != nil {
		return nil, err
	}
	strange, err := cfg.secretCredential(cfg.StrangerID, cfg.StrangerSecretFile)
	if err != nil {
		return nil, err
	}
	s.stranger, err = s.newClient(strange)
	return s, err
}

// newClient makes the SDK's client as its documentation does: the check of the challenge's
// resource stays on.
func (s *suite) newClient(cred azcore.TokenCredential) (*azsecrets.Client, error) {
	o := &azsecrets.ClientOptions{ClientOptions: s.cfg.clientOptions()}
	o.PerCallPolicies = []policy.Policy{pageSizePolicy{}}
	o.PerRetryPolicies = []policy.Policy{s.seen}
	return azsecrets.NewClient(s.cfg.Vault, cred, o)
}

// credential signs in the way that the configuration names.
func (cfg config) credential() (azcore.TokenCredential, error) {
	switch cfg.SignIn {
	case "secret":
		return cfg.secretCredential(cfg.ClientID, cfg.SecretFile)
	case "certificate":
		return cfg.certificateCredential()
	case "managed":
		// What the quickstarts use; under "strongroom run" it finds the managed identity.
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: cfg.clientOptions()})
	}
	return nil, fmt.Errorf("signIn %q: want secret, certificate or managed", cfg.SignIn)
}

func (cfg config) secretCredential(clientID, file string) (azcore.TokenCredential, error) {
	secret, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return cfg.withSecret(clientID, strings.TrimSpace(string(secret)))
}

func (cfg config) withSecret(clientID, secret string) (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(cfg.Tenant, clientID, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: cfg.clientOptions(), DisableInstanceDiscovery: !cfg.Discovery,
	})
}

func (cfg config) certificateCredential() (azcore.TokenCredential, error) {
	chain, key, err := cfg.certificate()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", cfg.CertificateFile, err)
	}
	return azidentity.NewClientCertificateCredential(cfg.Tenant, cfg.ClientID, chain, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: cfg.clientOptions(), DisableInstanceDiscovery: !cfg.Discovery,
	})
}

func (cfg config) certificate() ([]*x509.Certificate, crypto.PrivateKey, error) {
	text, err := os.ReadFile(cfg.CertificateFile)
	if err != nil {
		return nil, nil, err
	}
	return azidentity.ParseCertificates(text, nil)
}

// clientOptions lead to our login host, and, for names that only browsers resolve, to loopback.
// Without Loopback the SDK's own transport is used, and so the proxy of "strongroom run".
func (cfg config) clientOptions() azcore.ClientOptions {
	o := azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: cfg.Authority}}
	if cfg.Loopback {
		o.Transport = &http.Client{Transport: loopbackTransport}
	}
	return o
}

// loopbackTransport is shared, so that connections are used again.
var loopbackTransport = func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	var d net.Dialer
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".localhost") {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return d.DialContext(ctx, network, address)
	}
	return t
}()

// signInFailure says what the authority wrote, or that there was no failure of that kind.
func signInFailure(err error) string {
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) {
		return fmt.Sprintf("no sign-in failure but: %v", err)
	}
	return failed.Error()
}
