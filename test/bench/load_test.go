package main

import (
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPick(t *testing.T) {
	mix, err := mixed(nil, few)
	if err != nil {
		t.Fatal(err)
	}
	const n, workers = 20_000, 64
	rng := rand.New(rand.NewPCG(1, 2))
	written, owner := 0, map[*request]int{}
	for i := range n {
		worker := i % workers
		q := mix.pick(rng, worker, workers)
		if q.method != "PUT" {
			continue
		}
		written++
		if first, ok := owner[q]; ok && first != worker {
			t.Fatalf("%s is written by workers %d and %d", q.target, first, worker)
		}
		owner[q] = worker
	}
	if share := float64(written) / n; share < 0.04 || share > 0.06 {
		t.Errorf("%.3f of the requests write, want about 0.05", share)
	}
	if one, _ := writes(nil, few); one.pick(rng, 0, 1).method != "PUT" {
		t.Error("a load of writes reads")
	}
}

func TestHotReadsSpread(t *testing.T) {
	l, _ := hotReads(nil, 100_000)
	if got := []string{l.reads[1].target, l.reads[99].target}; got[0] != "/secrets/s001000"+apiVersion || got[1] != "/secrets/s099000"+apiVersion {
		t.Errorf("hot names of 100,000 are %q", got)
	}
}

// serveReplies runs the ceiling's handler in this process.
func serveReplies(t *testing.T, all replies, l load) *target {
	t.Helper()
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	config, err := makeCertificate("dev.vault.localhost", crt, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: all.handler()}
	served := make(chan struct{})
	go func() { defer close(served); s.ServeTLS(listener, crt, key) }()
	t.Cleanup(func() { s.Close(); <-served })
	return &target{
		endpoint: endpoint{address: listener.Addr().String(), host: "dev.vault.localhost", tls: config},
		pid:      os.Getpid(), load: l,
	}
}

// TestCeilingRepeats measures the ceiling and learns from it: what comes back is what went in.
func TestCeilingRepeats(t *testing.T) {
	long := strings.Repeat("x", 5000) // sent in chunks
	read := &request{method: "GET", target: "/secrets/a?x=1", want: []byte("xx")}
	write := &request{method: "PUT", target: "/secrets/a?x=1", body: `{"value":"1"}`, want: []byte("written")}
	all := replies{
		"GET": {read.target: {Status: 200, Header: [][2]string{{"Content-Type", "application/json"}, {"X-Twice", "1"}, {"X-Twice", "2"}}, Body: []byte(long)}},
		"PUT": {write.target: {Status: 200, Header: [][2]string{{"Content-Type", "text/plain"}}, Body: []byte("written")}},
	}
	at := serveReplies(t, all, load{reads: []*request{read}, writes: []*request{write}, putShare: 0.5})
	learned, err := learn(at)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, learned); diff != "" {
		t.Errorf("the ceiling does not repeat what it was told (-want +got):\n%s", diff)
	}
	got, err := at.measure(t.Context(), 3, 50*time.Millisecond)
	if err != nil || got.rate <= 0 || got.p99 < got.p50 {
		t.Errorf("measure = %+v, %v, want some answers", got, err)
	}
}

// TestMeasureFindsWrongAnswers serves another value than asked for.
func TestMeasureFindsWrongAnswers(t *testing.T) {
	q := get(1)
	at := serveReplies(t, replies{"GET": {q.target: {Status: 200, Body: []byte(`{"value":"` + secretValue(2) + `"}`)}}}, load{reads: []*request{q}})
	if _, err := at.measure(t.Context(), 2, 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "lacks") {
		t.Errorf("measure: %v, want an error that names what the answer lacks", err)
	}
}

func TestReadPage(t *testing.T) {
	var q request
	full := `{"value":[` + strings.Repeat(`{"id":"https://v/secrets/a"},`, pageSize-1) + `{"id":"https://v/secrets/z"}],"nextLink":"https://v:1/secrets?api-version=7.6&$skiptoken=x"}`
	next, whole, err := q.readPage([]byte(full))
	if err != nil || !whole || next != "/secrets?api-version=7.6&$skiptoken=x" || string(q.want) != `"id":"https://v/secrets/z"` {
		t.Errorf("readPage = %q, %v, %v, wants %q", next, whole, err, q.want)
	}
	if next, whole, err = q.readPage([]byte(`{"value":[{"id":"a"}],"nextLink":null}`)); err != nil || whole || next != "" {
		t.Errorf("readPage of the last page = %q, %v, %v", next, whole, err)
	}
	if _, _, err = q.readPage([]byte(`[`)); err == nil {
		t.Error("readPage took nonsense")
	}
}
