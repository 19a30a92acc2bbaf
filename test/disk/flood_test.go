//go:build linux

package disk

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"strongroom/test/served"
)

const (
	// strangers is how many addresses ask, of two vaults each: more than are told apart in a minute.
	strangers = 300
	// perHour is what all that strangers ask may make the data folder grow by in an hour.
	perHour = 10 << 20
	// hour is the number of requests that one address may send within an hour, by the default of
	// limits.anonymous_rate.
	hour = 3600 * 1000
	// flushesPerHour is how often the counts of strangers are stored.
	flushesPerHour = 60
	// administrator is the role Key Vault Administrator, by its published id.
	administrator = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
)

// TestStrangersFillNoDisk has strangers ask as fast as they are answered. Somebody who has a token is
// served all the while, and the data folder grows by next to nothing.
func TestStrangersFillNoDisk(t *testing.T) {
	s := served.NewService(t, "")
	d := &deployment{Server: s, ledger: newLedger(t, s), t: t}
	d.begin()
	d.wantWrite("at first")
	token := d.signIn()
	most, within := int64(5_000), 15*time.Second
	if served.IsLong() {
		most, within = hour, time.Hour
	}

	var stop atomic.Bool
	var beside sync.WaitGroup
	known := 0
	beside.Go(func() {
		for ; !stop.Load(); known++ {
			if status, err := d.Get(served.VaultHost, "/secrets/kept"+version, token); err != nil || status != http.StatusOK {
				t.Errorf("beside strangers a caller with a token was answered with %d, %v, want 200", status, err)
			}
			time.Sleep(20 * time.Millisecond) // not a load of its own
		}
	})
	before, began := d.size(), time.Now()
	n := d.flood(most, within, 25)
	took := time.Since(began)
	stop.Store(true)
	beside.Wait()
	grown := d.size() - before
	t.Logf("%d strangers' requests in %s, %.0f/s; %d of a known caller beside them; the folder grew by %d bytes meanwhile",
		n, took.Round(time.Millisecond), float64(n)/took.Seconds(), known, grown)
	if grown > perHour {
		t.Errorf("the data folder grew by %d bytes, want at most %d", grown, perHour)
	}
	d.extrapolate()
}

// extrapolate measures by how much the folder grows for each time that counts are stored, which the end
// of the server does as a minute does, and what that makes in an hour.
func (d *deployment) extrapolate() {
	const flushes = 2
	d.Stop()
	before := d.size()
	for range flushes {
		d.Start()
		d.flood(2*2*strangers, patience, 1)
		d.Stop()
	}
	each := (d.size() - before) / flushes
	d.t.Logf("counts of a minute take %d bytes: %d in an hour", each, each*flushesPerHour)
	if got := each * flushesPerHour; got <= 0 || got > perHour {
		d.t.Errorf("strangers make the data folder grow by %d bytes in an hour, want some and at most %d", got, perHour)
	}
}

// size is what the data folder takes up, without the ballast.
func (d *deployment) size() (bytes int64) {
	d.t.Helper()
	err := filepath.WalkDir(d.Data(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "ballast" {
			return err
		}
		st, err := os.Stat(path)
		if os.IsNotExist(err) {
			return nil // renamed meanwhile
		}
		if err == nil {
			bytes += st.Size()
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return bytes
}

// signIn makes an application that may read, and returns a token of it.
func (d *deployment) signIn() string {
	d.t.Helper()
	about := d.About()
	app, err := d.NewApplication("known")
	if err != nil {
		d.t.Fatal(err)
	}
	d.Must("PUT", about.Vault("dev")+"/providers/Microsoft.Authorization/roleAssignments/5a1ad000-0000-4000-8000-000000000001?api-version=2022-04-01",
		served.RoleAssignment(administrator, app.PrincipalID))
	_, port, err := net.SplitHostPort(d.Listen)
	if err != nil {
		d.t.Fatal(err)
	}
	_, token, err := d.SignIn(about.Tenant, app.AppID, app.Secret.SecretText, served.VaultResource+":"+port)
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

// flood sends requests that bring no token, or a bad one, until there were most of them or the time is
// over, and wants a refusal each. Each stranger asks each vault so many times before the next.
func (d *deployment) flood(most int64, within time.Duration, times int) int64 {
	d.t.Helper()
	end := time.Now().Add(within)
	var wg sync.WaitGroup
	var asked atomic.Int64
	trust := &tls.Config{RootCAs: d.Roots(), NextProtos: []string{"http/1.1"}, ServerName: served.VaultHost}
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; asked.Load() < most && time.Now().Before(end); i += 4 {
				address := fmt.Sprintf("127.0.%d.%d", 1+i%strangers/200, 1+i%strangers%200)
				n, err := d.knock(trust, address, times)
				if asked.Add(n); err != nil {
					d.t.Errorf("a stranger at %s: %v", address, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return asked.Load()
}

// knock sends the requests of one stranger. They are such that a sample of them is as large as can be.
func (d *deployment) knock(trust *tls.Config, address string, times int) (n int64, err error) {
	dialer := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := tls.DialWithDialer(dialer, "tcp", d.Listen, trust)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	long := strings.Repeat("x", 1000)
	request := "GET /secrets/" + long + version + " HTTP/1.1\r\nHost: %s.vault.localhost\r\nUser-Agent: " + long + "\r\nx-ms-client-request-id: " + long + "\r\n%s\r\n"
	both := fmt.Sprintf(request, "dev", "") + fmt.Sprintf(request, "none", "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n")
	go io.WriteString(c, strings.Repeat(both, times)) // an error is met by the reader
	answers := bufio.NewReader(c)
	for n < int64(2*times) {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return n, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if n++; err != nil || resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusTooManyRequests {
			return n, fmt.Errorf("answered with %d, %v; want 401 or 429", resp.StatusCode, err)
		}
	}
	return n, nil
}
