package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// An observer looks at each answer on its way to the SDK. It is safe for concurrent use.
type observer struct {
	answered atomic.Int64 // answers to requests that carried a token the server took

	mu      sync.Mutex
	version string      // the api-version of the last request; guarded by mu
	last    http.Header // of the last answer; guarded by mu
	faults  []string    // answers that the SDK would retry without a word; guarded by mu
}

// Do passes the request on and keeps what came back.
func (o *observer) Do(req *policy.Request) (*http.Response, error) {
	resp, err := req.Next()
	if err != nil {
		return resp, err
	}
	if resp.StatusCode != http.StatusUnauthorized {
		o.answered.Add(1)
	}
	raw := req.Raw()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.version = raw.URL.Query().Get("api-version")
	o.last = resp.Header
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		o.faults = append(o.faults, fmt.Sprintf("%s %s was answered %s", raw.Method, raw.URL.Path, resp.Status))
	}
	return resp, nil
}

func (o *observer) apiVersion() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.version
}

func (o *observer) lastHeader() http.Header {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

func (o *observer) takeFaults() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	faults := o.faults
	o.faults = nil
	return faults
}

// The Go client has no option for maxresults, other languages have: the policy adds it to the
// first page of a list. The links to further pages must carry it by themselves.
type pageSizePolicy struct{}

type pageSizeKey struct{}

func withPageSize(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, pageSizeKey{}, n)
}

// Do adds the page size of the context.
func (pageSizePolicy) Do(req *policy.Request) (*http.Response, error) {
	n, ok := req.Raw().Context().Value(pageSizeKey{}).(int)
	if q := req.Raw().URL.Query(); ok && !q.Has("maxresults") && !q.Has("$skiptoken") {
		q.Set("maxresults", strconv.Itoa(n))
		req.Raw().URL.RawQuery = q.Encode()
	}
	return req.Next()
}
