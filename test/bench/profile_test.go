package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProfileUnder takes the profiles of this process, which has the listener that is asked for.
func TestProfileUnder(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	listener := httptest.NewServer(mux)
	defer listener.Close()
	q := get(1)
	at := serveReplies(t, replies{"GET": {q.target: {Status: 200, Body: []byte(`{"value":"` + secretValue(1) + `"}`)}}}, load{reads: []*request{q}})
	b := &bench{options: options{duration: time.Second, profile: t.TempDir()}}
	if _, err := b.profileUnder(t.Context(), at, 2, strings.TrimPrefix(listener.URL, "http://")); err != nil {
		t.Fatal(err)
	}
	for file := range profiles {
		text, err := os.ReadFile(filepath.Join(b.profile, file))
		if err != nil || len(text) < 2 || text[0] != 0x1f || text[1] != 0x8b { // profiles are gzip
			t.Errorf("%s: %d bytes, %v, want a profile", file, len(text), err)
		}
	}
}
