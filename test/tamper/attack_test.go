//go:build unix

package tamper

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// An attack is what somebody does to the database, and how that must end.
type attack struct {
	name    string
	sql     string       // statements, in one transaction; {x} is a name of the base
	do      func(*place) // or what statements cannot do; it may send requests as well
	stopped bool         // the server is stopped meanwhile
	asks    []ask

	// Where and found are what the scrub has to say: which part, and what of it. Without where, a
	// line of any request will do; with neither, refusals are enough.
	where, found string
	// readLog means that it is noticed by whoever reads the audit log.
	readLog bool
	// noStart is what the server says when it refuses to start.
	noStart string
	// alsoPostgreSQL marks those that run on both engines.
	alsoPostgreSQL bool
}

// An ask is a request after the attack. Whatever its status, no answer has a value of a victim but
// the one that is allowed.
type ask struct {
	who    string // an application, or "owner"; "as x" signs in anew with the credential x
	method string // GET if empty
	target string // vault/path
	body   string
	may    string // the value that may come; without it 200 may come only where status says so
	status []int  // if not empty, what is wanted
}

// patience is how long a scrub may take to come round: it is due every second, and rests in between.
const patience = time.Minute

// ask sends a request to a vault over TLS with a token, or as the owner over the local socket.
func (p *place) ask(token, method, target, body string) (status int, answer string) {
	p.t.Helper()
	vault, path, _ := strings.Cut(target, "/")
	req, err := http.NewRequest(method, "https://"+vault+".vault.localhost/"+path+vaultVersion, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, b, err := served.Do(p.client, req)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// askAll sends the attack's requests and judges the answers. It returns the statuses.
func (p *place) askAll(when string, asks []ask) (statuses []int) {
	p.t.Helper()
	for _, a := range asks {
		method := a.method
		if method == "" {
			method = "GET"
		}
		token, status, answer := p.tokens[a.who], 0, ""
		if credential, ok := strings.CutPrefix(a.who, "as "); ok {
			if status, token = p.signIn(credential); status == http.StatusOK {
				p.t.Errorf("%s: %q signed in, which must be refused", when, credential)
			}
		}
		if a.target != "" {
			if a.who == "owner" {
				vault, path, _ := strings.Cut(a.target, "/")
				var b []byte
				var err error
				if status, _, b, err = p.Call(method, vault+".vault.localhost", "/"+path+vaultVersion, a.body); err != nil {
					p.t.Fatal(err)
				}
				answer = string(b)
			} else {
				status, answer = p.ask(token, method, a.target, a.body)
			}
		}
		p.judge(when, a, status, answer)
		statuses = append(statuses, status)
	}
	return statuses
}

var victims = regexp.MustCompile(`VALUE-[a-z-]+`)

func (p *place) judge(when string, a ask, status int, answer string) {
	p.t.Helper()
	for _, value := range victims.FindAllString(answer, -1) {
		if value != a.may {
			p.t.Errorf("%s: %s %s %s: %d with the value %s; want none but %q", when, a.who, a.method, a.target, status, value, a.may)
		}
	}
	if len(a.status) == 0 {
		a.status = []int{401, 403, 404, 500}
		if a.may != "" {
			a.status = append(a.status, 200)
		}
	}
	if !slices.Contains(a.status, status) && status != 0 {
		p.t.Errorf("%s: %s %s %s: status %d: %.200s; want one of %v", when, a.who, a.method, a.target, status, answer, a.status)
	}
}

// A line is one of the server's log.
type line struct {
	Level, Msg, Where, Found, Error, Task string
}

func (p *place) lines() (out []line) {
	for _, text := range strings.Split(p.Log(), "\n") {
		var l line
		if json.Unmarshal([]byte(text), &l, json.MatchCaseInsensitiveNames(true)) == nil && l.Level != "" {
			out = append(out, l)
		}
	}
	return out
}

// scrubs is how many scrubs have ended.
func (p *place) scrubs() int {
	n, _ := strconv.Atoi(p.metric("strongroom_scrubs_total")) // none before the server answers
	return n
}

// settle waits until the first scrub is over.
func (p *place) settle() {
	p.t.Helper()
	p.poll("the first scrub", func() bool { return p.scrubs() > 0 })
	if n := p.tamperings(); n != "0" {
		p.t.Fatalf("before the attack %s tamperings were counted: %s", n, p.Log())
	}
}

func (p *place) poll(what string, done func() bool) bool {
	p.t.Helper()
	came := served.Poll(patience, done)
	if !came && what != "" {
		p.t.Fatalf("%s has not come: %s", what, p.Log())
	}
	return came
}

// waitNoticed waits until the log names the attack, or one whole scrub has passed.
func (p *place) waitNoticed(a attack) (noticed bool) {
	p.t.Helper()
	if noticed = p.waitScrub(func() bool { return p.named(a) }); !noticed {
		p.t.Errorf("not noticed within one scrub: want where %q, found %q in the log, got: %s", p.words(a.where), p.words(a.found), p.Log())
	}
	if n := p.tamperings(); n == "0" {
		p.t.Errorf("the metric of tamperings is %s", n)
	}
	return noticed
}

// waitScrub waits until something is done, or a scrub that began later has ended.
func (p *place) waitScrub(done func() bool) bool {
	p.t.Helper()
	before := p.scrubs() // one may be under way
	p.poll("", func() bool { return p.scrubs() > before+1 || done() })
	return done()
}

func (p *place) named(a attack) bool {
	where, found := p.words(a.where), p.words(a.found)
	for _, l := range p.lines() {
		if l.Level != "ERROR" {
			continue
		}
		if a.where == "" && strings.Contains(l.Error+l.Found, found) {
			return true
		}
		// Where all rows of a set are summed up, no single one can be named.
		if a.where != "" && l.Where == where && (strings.Contains(l.Found, found) || strings.Contains(l.Found, "not those of its digest")) {
			return true
		}
	}
	return false
}

// words is a text of the log with names of the base in it.
func (p *place) words(text string) string {
	for name, value := range p.b.names {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

func (p *place) tamperings() string { return p.metric("strongroom_tampering_total") }

// metric is the value of a figure without labels.
func (p *place) metric(name string) string {
	p.t.Helper()
	_, after, _ := strings.Cut(p.ReadMetrics(), "\n"+name+" ")
	n, _, _ := strings.Cut(after, "\n")
	return n
}

// entries reads the audit log as far as it can be read.
func (p *place) entries() (status int, all []byte) {
	p.t.Helper()
	for from := int64(1); ; {
		status, _, b, err := p.Call("GET", "management.localhost", fmt.Sprintf("/audit/entries?from=%d&limit=1000&api-version=7.6", from), "")
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, b...)
		var page struct{ Next, Last int64 }
		if status != 200 || json.Unmarshal(b, &page, json.MatchCaseInsensitiveNames(true)) != nil || page.Next > page.Last || page.Next <= from {
			return status, all
		}
		from = page.Next
	}
}

// nudge changes something lawfully in each set, if it can, so that nothing is answered from what
// the server had read before the attack.
func (p *place) nudge() {
	p.t.Helper()
	p.Call("POST", "graph.localhost", "/v1.0/groups", `{"displayName":"nudge","securityEnabled":true,"mailEnabled":false}`)
	p.Call("PUT", "management.localhost", "/subscriptions/"+p.b.about.Subscription+"/resourceGroups/nudge"+armVersion, `{"location":"local"}`)
	for _, vault := range []string{"target", "theirs", "closed"} {
		p.Call("PUT", vault+".vault.localhost", "/secrets/nudge"+vaultVersion, `{"value":"x"}`)
	}
}

// run does an attack and judges how it ends.
func (a attack) run(t *testing.T, b *base) {
	p := newPlace(t, b)
	if !a.stopped {
		p.start()
		p.settle()
	}
	if a.do != nil {
		a.do(p)
	} else {
		p.exec(a.sql)
	}
	if a.noStart != "" {
		p.startRefused(a.noStart)
		return
	}
	if a.stopped {
		p.start()
	}
	first := p.askAll("at once", a.asks)
	if a.where+a.found == "" || p.waitNoticed(a) {
		p.judgeLog(a)
	}
	p.untouched(a)
	p.nudge()
	second := p.askAll("after a lawful change", a.asks)
	t.Logf("statuses %v, then %v; tamperings %s", first, second, p.tamperings())
}

// judgeLog looks for the entry in the audit log, or for the refusal to read it.
func (p *place) judgeLog(a attack) {
	p.t.Helper()
	if a.readLog {
		if status, _ := p.entries(); status == http.StatusOK {
			p.t.Errorf("the audit log was read to its end: status %d", status)
		}
		return
	}
	if a.where == "" || a.where == "audit log" {
		return
	}
	entry := regexp.MustCompile(`"operationName":"IntegrityScrub"[^\n]*?"errorCode":"TamperedData"[^\n]*?"detail":"` + regexp.QuoteMeta(p.words(a.where)) + `:`)
	if !p.poll("", func() bool { _, all := p.entries(); return entry.Match(all) }) {
		p.t.Errorf("no entry of the audit log names %q", p.words(a.where))
	}
}

// untouched reads a secret of another vault, where the attack was on one vault.
func (p *place) untouched(a attack) {
	p.t.Helper()
	if !strings.HasPrefix(a.where, "vault ") {
		return
	}
	if status, answer := p.ask(p.tokens["reader"], "GET", "untouched/secrets/calm", ""); status != 200 || !strings.Contains(answer, "VALUE-calm") {
		p.t.Errorf("the untouched vault answers %d: %s", status, answer)
	}
}

// startRefused wants that the server does not start and says why.
func (p *place) startRefused(want string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := []string{"dev", "--data-dir", p.Data(), "--listen", p.Listen, "--set", "metrics_listen=off", "--set", "identity_listen=off", "--set", "socket=" + p.Socket()}
	if p.url != "" {
		args = append(args, "--set", "database.engine=postgresql", "--set", "database.url="+p.url)
	}
	out, err := exec.CommandContext(ctx, served.Binary(p.t), args...).CombinedOutput()
	if err == nil || ctx.Err() != nil || !strings.Contains(string(out), p.words(want)) {
		p.t.Errorf("the server ended with %v (%v), and said %q; want a refusal with %q", err, ctx.Err(), out, p.words(want))
	}
}
