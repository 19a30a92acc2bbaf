//go:build unix

package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"strongroom/test/served"
)

// leastRows is how many rows the table must have, so that it never shrinks unnoticed.
const leastRows = 400

// A row is one hostile request with what it has to get. The files in testdata hold the table;
// their first lines explain its form. What is expected there comes from the protocols' documents,
// not from what the server was seen to answer.
type row struct {
	at      string // file and line: the request's User-Agent
	section section
	request string   // as it stands in the file
	status  []int    // one of these; 0 stands for a connection that ends without an answer
	code    string   // of the envelope: "-" where no face has its say, "*" any
	audit   string   // the operation of its entry; "counted" or "none" where it leaves no entry
	parts   []string // method and target, then headers
	body    string
	hasBody bool
}

// A section is a run of rows with the same face and caller.
type section struct{ title, face, host, token, version string }

// faces are the hosts that rows are sent to, unless their section names another.
var faces = map[string]string{
	"vault": served.VaultHost, "management": served.ManagementHost, "graph": "graph.localhost",
	"login": "login.localhost", "identity": "127.0.0.1",
}

// Words of the audit column for requests without an entry of their own.
const (
	counted = "counted" // a stranger's: in the counts of the minute
	none    = "none"    // refused before any face saw it
)

var sectionLine = regexp.MustCompile(`^@ (.+?) \| face=(\S+)(?: host=(\S+))?(?: token=(\S+))?(?: version=(\S+))?$`)

// readTable reads all files of the table.
func readTable(t *testing.T) (rows []row) {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var s section
		for i, line := range strings.Split(string(text), "\n") {
			at := fmt.Sprintf("%s:%d", filepath.Base(path), i+1)
			if line == "" || line[0] == '#' {
				continue
			}
			if m := sectionLine.FindStringSubmatch(line); m != nil {
				s = section{m[1], m[2], m[3], m[4], m[5]}
				continue
			}
			r, err := parseRow(at, s, line)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			key := fmt.Sprint(s.face, s.host, s.token, s.version, r.request)
			if other := seen[key]; other != "" {
				t.Errorf("%s: the same request as %s", at, other)
			}
			seen[key] = at
			rows = append(rows, r)
		}
	}
	return rows
}

// parseRow reads "METHOD target | header … || body => status code audit".
func parseRow(at string, s section, line string) (r row, err error) {
	i := strings.LastIndex(line, "=> ")
	if i < 0 || faces[s.face] == "" {
		return row{}, fmt.Errorf("want a request, =>, and what it gets, below a section of a face")
	}
	r = row{at: at, section: s, request: strings.TrimRight(line[:i], " ")}
	want := strings.Fields(line[i+len("=> "):])
	if len(want) != 3 {
		return row{}, fmt.Errorf("want status, code and audit, found %q", want)
	}
	r.code, r.audit = want[1], want[2]
	for _, text := range strings.Split(want[0], ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return row{}, fmt.Errorf("status %q: want a number", text)
		}
		r.status = append(r.status, n)
	}
	var rest string
	rest, r.body, r.hasBody = strings.Cut(r.request, " || ")
	r.parts = strings.Split(rest, " | ")
	return r, nil
}

// raw is the request as bytes.
func (r row) raw(f *fixture) string {
	method, target, _ := strings.Cut(r.parts[0], " ")
	target, body := f.expand(target), f.expand(r.body)
	if r.section.version != "" && !strings.Contains(target, "?") {
		target += "?api-version=" + r.section.version
	}
	protocol, headers, has, without := "HTTP/1.1", []string{}, map[string]bool{}, map[string]bool{}
	for _, part := range r.parts[1:] {
		if p, ok := strings.CutPrefix(part, "protocol="); ok {
			protocol = p
			continue
		}
		if name, ok := strings.CutPrefix(part, "-"); ok {
			without[strings.ToLower(name)] = true
			continue
		}
		name, _, _ := strings.Cut(part, ":")
		has[strings.ToLower(name)] = true
		headers = append(headers, f.expand(part))
	}
	add := func(name, value string) {
		if key := strings.ToLower(name); value != "" && !has[key] && !without[key] {
			headers = append(headers, name+": "+value)
		}
	}
	if !has["host"] && !without["host"] { // first, as clients send it
		host := r.section.host
		if host == "" {
			host = faces[r.section.face]
		}
		headers = append([]string{"Host: " + host}, headers...)
	}
	if r.section.token != "" {
		add("Authorization", "Bearer "+f.tokens[r.section.token])
	}
	add("User-Agent", r.at)
	if !has["transfer-encoding"] && (r.hasBody || slices.Contains([]string{"PUT", "POST", "PATCH"}, method)) {
		add("Content-Length", strconv.Itoa(len(body)))
	}
	return strings.TrimRight(method+" "+target+" "+protocol, " ") + "\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + body
}

// send sends a row and returns the answer.
func (r row) send(f *fixture) answer {
	f.t.Helper()
	raw := r.raw(f)
	if r.section.face != "identity" {
		return f.ask(raw)
	}
	c, err := net.DialTimeout("tcp", f.identityListen, patience)
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	go io.WriteString(c, raw)
	return next(bufio.NewReader(c), strings.HasPrefix(raw, "HEAD "))
}

// check compares an answer with what the row expects.
func (r row) check(t *testing.T, f *fixture, a answer) {
	t.Helper()
	code := a.code()
	ok := slices.Contains(r.status, a.status)
	switch r.code {
	case "-":
		ok = ok && code == ""
	case "*":
		ok = ok && code != ""
	default:
		ok = ok && code == r.code
	}
	if !ok {
		t.Errorf("%s: %.300q: got %d %s %.300s; want one of %v, code %s", r.at, r.request, a.status, code, a.body, r.status, r.code)
	}
	if a.status == 405 && a.header.Get("Allow") == "" {
		t.Errorf("%s: a 405 without Allow", r.at)
	}
	if code != "" && a.header.Get("X-Ms-Request-Id") == "" {
		t.Errorf("%s: %d without a request id", r.at, a.status)
	}
	if strings.Contains(a.body, "as it was") {
		t.Errorf("%s: the answer has a value: %s", r.at, a.body)
	}
	if a.status == 401 {
		r.checkChallenge(t, f, a)
	}
}

// checkChallenge wants a 401 to say how to sign in. The sign-in host itself does so where the client
// came with the Authorization header (RFC 6749, 5.2), and local endpoints have no such manners.
func (r row) checkChallenge(t *testing.T, f *fixture, a answer) {
	t.Helper()
	switch {
	case r.section.face == "vault" && !strings.HasPrefix(r.request, "CONNECT "): // whose target has a port, and so has the challenge
		f.isUnauthorized(t, a)
	case r.section.face == "identity", r.section.face == "login" && !strings.Contains(r.request, "| Authorization: "):
	case a.header.Get("WWW-Authenticate") == "":
		t.Errorf("%s: 401 without a challenge", r.at)
	}
}

// checkAudit compares the entries of a row with what it has to leave: one, or none.
func (r row) checkAudit(t *testing.T, entries []entry, a answer) {
	t.Helper()
	if r.audit == counted || r.audit == none {
		if len(entries) != 0 {
			t.Errorf("%s: left %+v, want no entry of its own", r.at, entries)
		}
		return
	}
	if len(entries) != 1 || entries[0].OperationName != r.audit || entries[0].Properties.HTTPStatusCode != a.status {
		t.Errorf("%s: %.200q got %d and left %+v, want one entry of %s with that status", r.at, r.request, a.status, entries, r.audit)
	}
}

// TestTable sends the whole table. After each section the entries of its rows are looked for, and
// the state is compared; if it has changed, each row is sent again by itself to name the one.
func TestTable(t *testing.T) {
	rows := readTable(t)
	if len(rows) < leastRows {
		t.Errorf("the table has %d rows, want at least %d", len(rows), leastRows)
	}
	f := newFixture(t)
	strangers := int64(0)
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].section == rows[0].section {
			n++
		}
		t.Run(rows[0].section.title, func(t *testing.T) { strangers += f.sectionOf(t, rows[:n]) })
		rows = rows[n:]
	}
	f.checkCounts(t, strangers)
	f.allUsed(t)
	f.prompts(1, "after the table")
}

// sectionOf runs a section and returns how many of its requests were strangers'.
func (f *fixture) sectionOf(t *testing.T, rows []row) (strangers int64) {
	from := f.last() + 1
	answers := make([]answer, len(rows))
	for i, r := range rows {
		answers[i] = r.send(f)
		r.check(t, f, answers[i])
		if r.audit == counted {
			strangers++
		}
	}
	left := map[string][]entry{}
	for _, e := range f.entries(from) {
		if !e.Properties.Counted {
			left[e.Properties.ClientInfo] = append(left[e.Properties.ClientInfo], e)
		}
	}
	for i, r := range rows {
		r.checkAudit(t, left[r.at], answers[i])
	}
	if f.state() != f.before {
		f.nameGuilty(t, rows)
	}
	f.unchanged(rows[0].section.title)
	return strangers
}

// nameGuilty sends rows one by one to a deployment of their own, and names those that change its
// state.
func (f *fixture) nameGuilty(t *testing.T, rows []row) {
	t.Helper()
	fresh := newFixture(t)
	for _, r := range rows {
		a := r.send(fresh)
		if got := fresh.state(); got != fresh.before {
			t.Errorf("%s: %q got %d and changed the state", r.at, r.request, a.status)
			fresh.before = got
		}
	}
}

// last is the position of the newest entry.
func (d *deployment) last() int64 {
	d.t.Helper()
	var page struct{ Last int64 }
	d.MustDecode(d.Must("GET", served.ManagementHost+"/audit/entries?from=1&limit=1", ""), &page)
	return page.Last
}

// checkCounts stores the counts and wants each stranger's request to be in them.
func (f *fixture) checkCounts(t *testing.T, want int64) {
	t.Helper()
	f.Stop()
	f.Start()
	got := int64(0)
	for _, e := range f.entries(1) {
		if e.Properties.Counted && e.OperationName == "Authentication" {
			got += e.Properties.Count
		}
	}
	if got != want {
		t.Errorf("%d requests of strangers were counted, want %d", got, want)
	}
}
