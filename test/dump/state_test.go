//go:build unix

package dump

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// A state is what callers see of a deployment: answers by what was asked for.
type state struct {
	mu      sync.Mutex
	answers map[string]string // guarded by mu
}

// keep notes an answer, whatever port the server had.
func (s *state) keep(d *deployment, target string, answer []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[strings.ReplaceAll(target, ":"+d.port(), "")] = strings.ReplaceAll(string(answer), ":"+d.port(), "")
}

// look reads everything.
func (d *deployment) look() *state {
	d.t.Helper()
	s := &state{answers: map[string]string{}}
	subscription := "management.localhost/subscriptions/" + d.about.Subscription
	lists := []string{
		subscription + "/resourcegroups?api-version=2022-09-01",
		subscription + "/providers/Microsoft.KeyVault/vaults?api-version=2023-07-01",
		subscription + "/providers/Microsoft.KeyVault/deletedVaults?api-version=2023-07-01",
		subscription + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01",
		subscription + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities?api-version=2023-01-31",
		d.about.Vault("dev") + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01",
		"graph.localhost/v1.0/applications", "graph.localhost/v1.0/servicePrincipals", "graph.localhost/v1.0/groups",
	}
	for _, list := range lists {
		for _, item := range d.list(s, list) {
			s.keep(d, list+" "+item.id(d), item.raw)
		}
	}
	for _, group := range d.list(s, "graph.localhost/v1.0/groups") {
		d.list(s, "graph.localhost/v1.0/groups/"+group.ID+"/members")
	}
	for _, vault := range []string{"dev", "payroll"} {
		d.lookInto(s, vault+".vault.localhost")
	}
	return s
}

// lookInto reads all of a vault: secrets, each of their versions with its value, deleted secrets.
func (d *deployment) lookInto(s *state, host string) {
	d.t.Helper()
	const version = "?api-version=7.6"
	secrets := d.list(s, host+"/secrets"+version)
	each(d.t, len(secrets), func(i int) error {
		versions, err := d.pages(s, host+"/secrets/"+last(secrets[i].ID)+"/versions"+version)
		for _, v := range versions {
			target, pathErr := pathOf(v.ID + version)
			if err = firstOf(err, pathErr); err != nil {
				return err
			}
			_, target, _ = strings.Cut(target, "/")
			status, _, answer, callErr := d.Call("GET", host, "/"+target, "")
			if err = firstOf(err, callErr); err != nil {
				return err
			}
			s.keep(d, host+"/"+target, fmt.Appendf(nil, "%d %s", status, answer)) // 403 where it is disabled
		}
		return err
	})
	deleted := d.list(s, host+"/deletedsecrets"+version)
	each(d.t, len(deleted), func(i int) error {
		path := "/deletedsecrets/" + last(deleted[i].ID) + version
		status, _, answer, err := d.Call("GET", host, path, "")
		s.keep(d, host+path, fmt.Appendf(nil, "%d %s", status, answer))
		return err
	})
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// An item of a list.
type item struct {
	ID  string `json:"id"`
	raw []byte
}

func (i item) id(d *deployment) string { return strings.ReplaceAll(i.ID, ":"+d.port(), "") }

// list reads all pages of a list and notes each item.
func (d *deployment) list(s *state, target string) []item {
	d.t.Helper()
	items, err := d.pages(s, target)
	if err != nil {
		d.t.Fatal(err)
	}
	return items
}

// maxPages ends a list that leads round in a circle.
const maxPages = 100_000

func (d *deployment) pages(s *state, target string) (items []item, err error) {
	first := target
	for range maxPages {
		answer, err := d.Owner("GET", target, "")
		if err != nil {
			return nil, err
		}
		var page struct {
			Value     []jsontext.Value
			NextLink  string
			ODataNext string `json:"@odata.nextLink"`
		}
		if err := decode(answer, &page); err != nil {
			return nil, err
		}
		for _, raw := range page.Value {
			i := item{raw: raw}
			if err := decode(raw, &i); err != nil {
				return nil, err
			}
			s.keep(d, first+" "+i.ID, raw)
			items = append(items, i)
		}
		link := page.NextLink + page.ODataNext
		if link == "" {
			return items, nil
		}
		if target, err = pathOf(strings.ReplaceAll(link, ":"+d.port(), "")); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the list %s does not end", first)
}

// last is the last segment of an id.
func last(id string) string { return id[strings.LastIndex(id, "/")+1:] }

// audit reads the audit log up to a position, an entry a line.
func (d *deployment) audit(to int64) []string {
	d.t.Helper()
	out := command(d.t, "audit", "export", "--socket", d.Socket())
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if int64(len(lines)) < to {
		d.t.Fatalf("the audit log has %d entries, want %d at least", len(lines), to)
	}
	return lines[:to]
}

// same compares what was seen before and after.
func same(t *testing.T, before, after *state) {
	t.Helper()
	differences := 0
	report := func(format string, args ...any) {
		if differences++; differences <= 5 {
			t.Errorf(format, args...)
		}
	}
	for _, target := range slices.Sorted(maps.Keys(before.answers)) {
		switch got, ok := after.answers[target]; {
		case !ok:
			report("%s is gone", target)
		case got != before.answers[target]:
			report("%s = %s\nwant %s", target, got, before.answers[target])
		}
	}
	for target := range after.answers {
		if _, ok := before.answers[target]; !ok {
			report("%s was not there before", target)
		}
	}
	if differences > 0 {
		t.Errorf("%d of %d answers differ", differences, len(before.answers))
	}
	t.Logf("%d answers compared", len(before.answers))
}
