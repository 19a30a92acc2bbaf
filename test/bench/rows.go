package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// few is the number of secrets in the small deployments, and of the names that count as hot.
const few = 100

// pageSize is the length of a page of a list.
const pageSize = 25

// A row is one line of work with what it must reach. Zero bounds demand nothing.
type row struct {
	work        string
	measure     func(ctx context.Context, b *bench, r row) ([]line, error)
	connections int
	at          place
	against     place // another deployment; the zero value means the ceiling
	load        func(t *target, secrets int) (load, error)
	least       float64 // of the ratio
	cpuMost     float64 // server CPU per answer, as a multiple of the ceiling's
	syncLeast   float64 // answers per sync of the disk
}

// rows are the table of what must be reached; many is the size of the large deployment, and entries that
// of a long audit log.
func rows(many, entries int) []row {
	small, large := place{name: "few", secrets: few}, place{name: "many", secrets: many}
	written, pg := place{name: "written", secrets: writeNames}, place{name: "postgresql", secrets: few, postgresql: true}
	logged := place{name: "logged", secrets: few, entries: entries}
	stored, log := count(float64(many)), count(float64(entries))
	return []row{
		{work: "GET secret, 64 connections", measure: compare, connections: 64, at: small, load: hotReads, least: 0.55, cpuMost: 1.7},
		{work: "GET secret, 16 connections", measure: compare, connections: 16, at: small, load: hotReads, least: 0.35},
		{work: "GET secret, 1 connection", measure: compare, connections: 1, at: small, load: hotReads, least: 0.33},
		{work: "PUT secret, 64 connections", measure: compare, connections: 64, at: written, load: writes, least: 0.25, syncLeast: 2},
		{work: "PUT secret, 1 connection", measure: compare, connections: 1, at: written, load: writes, syncLeast: 0.5},
		{work: "list page of 25, 64 connections", measure: compare, connections: 64, at: small, load: pages, least: 0.30},
		{work: "list page of 25, " + stored + " secrets against 100", measure: compare, connections: 64, at: large, against: small, load: pages, least: 0.90},
		{work: "95 % GET, 5 % PUT, 64 connections", measure: compare, connections: 64, at: written, load: mixed, least: 0.45},
		{work: "95 % GET, 5 % PUT, 16 connections", measure: compare, connections: 16, at: written, load: mixed, least: 0.30},
		{work: "GET secret, " + stored + " secrets against 100, hot names", measure: compare, connections: 64, at: large, against: small, load: hotReads, least: 0.95},
		{work: "GET secret, " + stored + " secrets against 100, uniform", measure: compare, connections: 64, at: large, against: small, load: allReads, least: 0.70},
		{work: "GET secret, " + log + " audit entries in the database against next to none", measure: compare, connections: 64, at: logged, against: small, load: hotReads, least: 0.90},
		{work: "GET secret on PostgreSQL, 64 connections", measure: compare, connections: 64, at: pg, load: hotReads, least: 0.20},
		{work: "GET secret, 1 connection beside another caller's 50", measure: measureFairness, at: small, load: hotReads},
		{work: "start to first secret, 100 secrets", measure: measureStart, at: small},
		{work: "start to first secret, " + stored + " secrets", measure: measureStart, at: large},
		{work: "memory, " + stored + " secrets", measure: measureMemory, at: large},
	}
}

// hotReads reads a hundred names, spread over all.
func hotReads(_ *target, secrets int) (load, error) {
	var l load
	for i := range few {
		l.reads = append(l.reads, get(i*secrets/few))
	}
	return l, nil
}

// allReads reads every name equally often.
func allReads(_ *target, secrets int) (load, error) {
	var l load
	for i := range secrets {
		l.reads = append(l.reads, get(i))
	}
	return l, nil
}

// writeNames is how many names are written: two for each of 64 connections.
const writeNames = 128

func writes(*target, int) (load, error) {
	l := load{putShare: 1}
	for i := range writeNames {
		l.writes = append(l.writes, put(i))
	}
	return l, nil
}

// mixed reads the names that are being written.
func mixed(t *target, secrets int) (load, error) {
	l, err := writes(t, secrets)
	l.putShare = 0.05
	for i := range writeNames {
		l.reads = append(l.reads, get(i))
	}
	return l, err
}

// mostPages is how many pages of a long list are asked for.
const mostPages = 100

// pages follows the list to its end once, and keeps full pages spread over all of it.
func pages(t *target, secrets int) (load, error) {
	c, err := t.dial(time.Now().Add(10 * time.Minute))
	if err != nil {
		return load{}, err
	}
	defer c.close()
	var l load
	stride := max(1, secrets/pageSize/mostPages)
	next := fmt.Sprintf("/secrets%s&maxresults=%d", apiVersion, pageSize)
	for n := 0; next != ""; n++ {
		q := &request{method: "GET", target: next}
		a, err := c.must(q)
		if err != nil {
			return load{}, err
		}
		var full bool
		if next, full, err = q.readPage(a.body); err != nil {
			return load{}, err
		}
		if full && n%stride == 0 && len(l.reads) < mostPages {
			l.reads = append(l.reads, q)
		}
	}
	if len(l.reads) == 0 {
		return load{}, errors.New("the list has no full page")
	}
	return l, nil
}

// readPage makes the page's last id what its answer must contain, and finds the next page.
func (q *request) readPage(body []byte) (next string, full bool, err error) {
	var page struct {
		Value []struct {
			ID string `json:"id"`
		} `json:"value"`
		NextLink string `json:"nextLink"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return "", false, fmt.Errorf("read a page: %w", err)
	}
	if len(page.Value) > 0 {
		q.want = []byte(`"id":"` + page.Value[len(page.Value)-1].ID + `"`)
	}
	if _, rest, ok := strings.Cut(page.NextLink, "://"); ok {
		_, path, _ := strings.Cut(rest, "/")
		next = "/" + path
	}
	return next, len(page.Value) == pageSize, nil
}
