package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// debugSetting is the server's key for its loopback listener of /debug/pprof/, which is off unless set.
const debugSetting = "debug_listen"

// profiles are the files that are made, and where the server has each.
var profiles = map[string]string{
	"cpu.pprof": "profile", "allocs.pprof": "allocs", "mutex.pprof": "mutex", "block.pprof": "block",
}

// takeProfiles puts the server under the load of the first matching row, and takes all profiles of
// the same stretch of time.
func (b *bench) takeProfiles(ctx context.Context) error {
	r, err := b.profiledRow()
	if err != nil {
		return err
	}
	d, err := b.deployment(ctx, r.at)
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	p, t, err := d.run(ctx, debugSetting+"="+address)
	if err != nil {
		return err
	}
	defer p.stop()
	if t.load, err = r.load(t, r.at.secrets); err != nil {
		return err
	}
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	b.progress("%s: profiles", r.work)
	result, err := b.profileUnder(ctx, t, r.connections, address)
	b.progress("")
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s/s while profiled, %s of server CPU each\nlook at one with: go tool pprof -top %s\n",
		r.work, count(result.rate), micros(result.cpu), filepath.Join(b.profile, "cpu.pprof"))
	return nil
}

func (b *bench) profiledRow() (row, error) {
	for _, r := range rows(b.many, b.entries) {
		if r.load != nil && b.run.MatchString(r.work) {
			return r, nil
		}
	}
	return row{}, fmt.Errorf("no row with a load matches -run %q", b.run)
}

// profileUnder takes the profiles while the load runs. The load is measured for a little longer, so
// that no profile sees an idle server.
func (b *bench) profileUnder(ctx context.Context, t *target, connections int, address string) (sample, error) {
	seconds := max(1, int(b.duration.Seconds()))
	failures := make(chan error, len(profiles))
	var fetches sync.WaitGroup
	for file, name := range profiles {
		fetches.Go(func() {
			url := fmt.Sprintf("http://%s/debug/pprof/%s?seconds=%d", address, name, seconds)
			failures <- fetchProfile(ctx, url, filepath.Join(b.profile, file))
		})
	}
	result, err := t.measure(ctx, connections, time.Duration(seconds)*time.Second+500*time.Millisecond)
	fetches.Wait()
	close(failures)
	for failure := range failures {
		err = errors.Join(err, failure)
	}
	return result, err
}

func fetchProfile(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s was answered %d: %.200s", url, resp.StatusCode, body)
	}
	return os.WriteFile(file, body, 0o644)
}
