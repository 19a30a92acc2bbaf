//go:build unix

package hostile

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"strongroom/test/served"
)

// Strangers: so many addresses, each with so many requests.
const (
	strangers = 300
	knocks    = 17
	// maxGrowth is by how many entries they may make the log grow: twice the bound of one minute's
	// counts, since a minute may end in between, and what the test itself asks for.
	maxGrowth = 2*257 + 50
)

// TestAnonymousRequestsAreCounted has strangers knock more often than the log could bear.
func TestAnonymousRequestsAreCounted(t *testing.T) {
	d := start(t)
	had := d.entries(1)
	from := had[len(had)-1].Properties.Position + 1
	for i := range strangers {
		d.knock(fmt.Sprintf("127.0.%d.%d", 1+i/200, 1+i%200))
	}
	d.prompts(3, "after many anonymous requests")
	d.Stop() // stores the counts
	d.Start()
	grown := d.entries(from)
	counted := int64(0)
	for _, e := range grown {
		if e.Properties.Counted {
			counted += e.Properties.Count
		} else if e.Properties.HTTPStatusCode == 401 {
			t.Errorf("an anonymous request left an entry of its own: %+v", e)
		}
	}
	if want := int64(strangers * knocks); counted != want {
		t.Errorf("%d anonymous requests were counted, want %d", counted, want)
	}
	if len(grown) > maxGrowth {
		t.Errorf("%d anonymous requests made the log grow by %d entries, want at most %d", strangers*knocks, len(grown), maxGrowth)
	}
	t.Logf("%d anonymous requests from %d addresses: %d entries", strangers*knocks, strangers, len(grown))
	d.unchanged("anonymous requests")
}

// knock sends requests without a token from an address, in one write, and wants a refusal each.
func (d *deployment) knock(address string) {
	d.t.Helper()
	dialer := &net.Dialer{Timeout: patience}
	if runtime.GOOS == "linux" { // elsewhere only 127.0.0.1 is an address of this machine
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(address)}
	}
	c, err := tls.DialWithDialer(dialer, "tcp", d.Listen, d.trust("http/1.1"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	go io.WriteString(c, strings.Repeat(request("GET /secrets/kept?api-version=7.6"), knocks))
	r := bufio.NewReader(c)
	for range knocks {
		if a := next(r, false); a.status != 401 {
			d.t.Fatalf("an anonymous request got %d %s, want 401", a.status, a.body)
		}
	}
}

// TestAnonymousCountsNameTheVault asks two vaults without a token: the log has to tell which was
// asked.
func TestAnonymousCountsNameTheVault(t *testing.T) {
	d := start(t)
	for _, vault := range []string{"dev", "other"} {
		d.ask(bare("GET /secrets/kept?api-version=7.6 HTTP/1.1", "Host: "+vault+".vault.localhost"))
	}
	d.Stop()
	d.Start()
	seen := map[string]bool{}
	for _, e := range d.entries(1) {
		if e.Properties.Counted {
			host, _, _ := strings.Cut(strings.TrimPrefix(e.Properties.RequestURI, "https://"), "/")
			seen[host] = true
		}
	}
	if !seen["dev.vault.localhost"] || !seen["other.vault.localhost"] {
		t.Errorf("counts are of hosts %v; want one for each vault that was asked", seen)
	}
}

// An entry is what the tests look at in a line of the audit log.
type entry struct {
	OperationName   string
	CallerIPAddress string
	Properties      struct {
		ClientInfo     string
		RequestURI     string
		HTTPStatusCode int
		Position       int64
		Count          int64
		Counted        bool
	}
}

// entries reads the audit log from a position to its end as it is now.
func (d *deployment) entries(from int64) (all []entry) {
	d.t.Helper()
	for end := int64(-1); end < 0 || from <= end; {
		var page struct {
			Value      []entry
			Next, Last int64
		}
		d.MustDecode(d.Must("GET", fmt.Sprintf("%s/audit/entries?from=%d", served.ManagementHost, from), ""), &page)
		if end < 0 {
			end = page.Last
		}
		if len(page.Value) == 0 {
			break
		}
		all, from = append(all, page.Value...), page.Next
	}
	return all
}
