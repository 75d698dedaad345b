package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// certificate makes a self-signed certificate for the loopback and its key, as files.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))), pool
}

// TestTLS: HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3, and nothing else; a body that is too large does no harm to the other requests of an HTTP/2 connection; the server
// ends with connections open.
func TestTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	s := serveProcess(t, nil, "-m", tiny("normalize")+"=tiny", "--tls-cert", cert, "--tls-key", key)
	require.Regexp(t, `\Ahttps://127\.0\.0\.1:\d+\z`, s.address)
	client := func(config *tls.Config, http2 bool) *http.Client {
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 30 * time.Second}
	}
	ask := func(c *http.Client, address, body string) (*http.Response, error) {
		r, err := c.Post(address+"/embed", "application/json", strings.NewReader(body))
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		return r, err
	}
	trusting := client(&tls.Config{RootCAs: pool}, true)
	for _, c := range []struct {
		client  *http.Client
		proto   string
		version uint16
	}{
		{trusting, "HTTP/2.0", tls.VersionTLS13},
		{client(&tls.Config{RootCAs: pool}, false), "HTTP/1.1", tls.VersionTLS13},
		{client(&tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12}, true), "HTTP/2.0", tls.VersionTLS12},
	} {
		r, err := ask(c.client, s.address, `{"inputs":"the cat"}`)
		require.NoError(t, err)
		assert.Equal(t, 200, r.StatusCode)
		assert.Equal(t, c.proto, r.Proto)
		assert.Equal(t, c.version, r.TLS.Version)
	}
	r, err := ask(trusting, s.address, `{"inputs":"`+strings.Repeat("a", 3<<20)+`"}`)
	require.NoError(t, err)
	assert.Equal(t, 413, r.StatusCode)
	r, err = ask(trusting, s.address, `{"inputs":"the cat"}`)
	require.NoError(t, err)
	assert.Equal(t, 200, r.StatusCode)

	_, err = ask(client(&tls.Config{}, true), s.address, `{}`)
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
	_, err = ask(client(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, true), s.address, `{}`)
	require.ErrorContains(t, err, "protocol version")
	r, err = ask(http.DefaultClient, "http"+strings.TrimPrefix(s.address, "https"), `{}`)
	require.NoError(t, err)
	assert.Equal(t, 400, r.StatusCode)
	s.ends(t)
}

func TestTLSFails(t *testing.T) {
	cert, key, _ := certificate(t)
	_, other, _ := certificate(t)
	for says, files := range map[string][2]string{
		"no such file":           {"/nonexistent.pem", key},
		"failed to find any PEM": {write(t, "empty.pem", ""), key},
		"does not match":         {cert, other},
		"rather than a key":      {cert, cert},
	} {
		o := vkb(t, "", "serve", "-m", tiny("mean"), "--addr", "127.0.0.1:0", "--tls-cert", files[0], "--tls-key", files[1])
		o.bad(t, exitFailed, says)
		assert.Contains(t, o.err, "--tls-cert "+files[0]+" --tls-key "+files[1])
	}
}
