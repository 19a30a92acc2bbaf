//go:build unix

// Package leak looks for secret values where they must not be: in files, log lines, metrics and
// error texts.
package leak

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const values = 100

func TestNoValueLeaksSQLite(t *testing.T) { noValueLeaks(t, "", "") }

func TestNoValueLeaksPostgreSQL(t *testing.T) {
	pg, err := dbtest.StartServer()
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Stop()
	if err := pg.CreateDatabase("leak"); err != nil {
		t.Fatal(err)
	}
	noValueLeaks(t, pg.URL("leak"), pg.Dir())
}

// noValueLeaks sends values in good and bad requests, and then searches everything that the
// server and the database wrote, while they run and after they stopped.
func noValueLeaks(t *testing.T, postgresURL, postgresDir string) {
	s := served.New(t, postgresURL, "log.level=debug", "log.format=json")
	s.Start()
	needles := map[string][]byte{}
	var errorTexts bytes.Buffer
	for i := range values {
		value := newValue(t)
		for encoding, needle := range encodings(value) {
			needles[fmt.Sprintf("value %d, %s", i, encoding)] = needle
		}
		exercise(t, s, &errorTexts, i, value)
	}
	where := []string{s.Dir}
	if postgresDir != "" {
		where = append(where, postgresDir)
	}
	haystacks := func() map[string][]byte {
		h := readAll(t, where...)
		h["log"], h["error texts"] = []byte(s.Log()), errorTexts.Bytes()
		return h
	}
	running := haystacks()
	running["metrics"] = metrics(t, s)
	report(t, running, needles)
	s.Stop()
	report(t, haystacks(), needles)

	// The control: a planted value has to be found, or the search proves nothing.
	control := needles["value 0, hex"]
	if err := os.WriteFile(filepath.Join(s.Dir, "data", "planted"), append([]byte("x"), control...), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := search(haystacks(), needles); len(found) != 1 || !strings.Contains(found[0], "planted") {
		t.Errorf("the planted control was not found alone: %q", found)
	}
	t.Logf("%d values in %d encodings, %d places, %d bytes", values, len(needles), len(running), size(running))
}

func newValue(t *testing.T) string {
	t.Helper()
	var b [24]byte
	rand.Read(b[:])
	// Bytes that URL-encoding and base64url change.
	return "leak?/" + base64.StdEncoding.EncodeToString(b[:]) + "é+ÿ"
}

func encodings(v string) map[string][]byte {
	b := []byte(v)
	out := map[string][]byte{
		"plain":       b,
		"base64":      []byte(base64.RawStdEncoding.EncodeToString(b)),
		"base64url":   []byte(base64.RawURLEncoding.EncodeToString(b)),
		"hex":         []byte(hex.EncodeToString(b)),
		"URL-encoded": []byte(url.QueryEscape(v)),
	}
	for name, needle := range out {
		out[name] = needle[:min(len(needle), 40)] // the last characters depend on what follows
	}
	return out
}

// exercise puts a value through every way in: stored, read, backed up, restored, and in requests
// that fail at each stage.
func exercise(t *testing.T, s *served.Server, errorTexts io.Writer, i int, value string) {
	t.Helper()
	quoted, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("leak-%d", i)
	good := func(method, path, body string) []byte {
		status, _, answer, err := s.Call(method, served.VaultHost, path+"?api-version=7.6", body)
		if err != nil || status >= 300 {
			t.Fatalf("%s %s: %d, %v: %s", method, path, status, err, answer)
		}
		return answer
	}
	bad := func(method, path, body string) {
		status, _, answer, err := s.Call(method, served.VaultHost, path, body)
		if err != nil || status < 400 {
			t.Fatalf("%s %s: %d, %v: want a refusal", method, path, status, err)
		}
		errorTexts.Write(answer)
	}
	good("PUT", "/secrets/"+name, fmt.Sprintf(`{"value":%s}`, quoted))
	good("GET", "/secrets/"+name, "")
	blob := good("POST", "/secrets/"+name+"/backup", "")
	good("DELETE", "/secrets/"+name, "")
	bad("PUT", "/secrets/"+name+"?api-version=7.6", fmt.Sprintf(`{"value":%s}`, quoted))
	good("DELETE", "/deletedsecrets/"+name, "")
	good("POST", "/secrets/restore", string(blob))
	for _, body := range []string{
		`{"value":%s,"value":"y"}`, `{"value":%s`, `{"value":%s} %[1]s`, `{"value":[%s]}`, `{"value":{"a":%s}}`,
		`{"value":%s,"attributes":{"exp":%[1]s}}`, `{"value":%s,"tags":%[1]s}`, `%s`, `{%s:1}`, `{"value":%s,"attributes":{"enabled":%[1]s}}`,
	} {
		bad("PUT", "/secrets/x?api-version=7.6", fmt.Sprintf(body, quoted))
	}
	bad("PUT", "/secrets/x", fmt.Sprintf(`{"value":%s}`, quoted)) // no api-version
	bad("PUT", "/secrets/x_y?api-version=7.6", fmt.Sprintf(`{"value":%s}`, quoted))
	bad("POST", "/secrets/restore?api-version=7.6", fmt.Sprintf(`{"value":%s}`, quoted))
	bad("POST", "/secrets/x?api-version=7.6", fmt.Sprintf(`{"value":%s}`, quoted))
	bad("PUT", "/secrets/x?api-version=7.6", fmt.Sprintf(`{"value":%s%s}`, quoted[:len(quoted)-1], strings.Repeat("x", 26000)+`"`))
}

func metrics(t *testing.T, s *served.Server) []byte {
	t.Helper()
	b := []byte(s.ReadMetrics())
	if !bytes.Contains(b, []byte(`strongroom_requests_total{face="dataplane",operation="SecretSet"`)) {
		t.Error("the metrics do not count SecretSet")
	}
	if bytes.Contains(b, []byte("leak-")) {
		t.Error("the name of a secret is in the metrics")
	}
	return b
}

func readAll(t *testing.T, dirs ...string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // files come and go while the server runs
			}
			if b, err := os.ReadFile(path); err == nil {
				out[path] = b
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func search(haystacks, needles map[string][]byte) (found []string) {
	for place, hay := range haystacks {
		for what, needle := range needles {
			if bytes.Contains(hay, needle) {
				found = append(found, what+" in "+place)
			}
		}
	}
	return found
}

func report(t *testing.T, haystacks, needles map[string][]byte) {
	t.Helper()
	for _, f := range search(haystacks, needles) {
		t.Errorf("leak: %s", f)
	}
}

func size(m map[string][]byte) (n int) {
	for _, b := range m {
		n += len(b)
	}
	return n
}
