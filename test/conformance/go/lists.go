package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// paged is how many secrets the vault has while the lists are read; the page sizes are the
// service's default and one that a client asks for.
const (
	paged       = 60
	defaultPage = 25
	smallPage   = 10
)

// collect reads a pager to its end: the size of each page, and the names of all items.
func collect[T any](ctx context.Context, pager *runtime.Pager[T], names func(T) []string) (sizes []int, all []string, err error) {
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("page %d: %w", len(sizes)+1, err)
		}
		found := names(page)
		sizes, all = append(sizes, len(found)), append(all, found...)
	}
	slices.Sort(all)
	return sizes, all, nil
}

func secretNames(page azsecrets.ListSecretPropertiesResponse) (names []string) {
	for _, p := range page.Value {
		names = append(names, p.ID.Name())
	}
	return names
}

func versionsOf(page azsecrets.ListSecretPropertiesVersionsResponse) (versions []string) {
	for _, p := range page.Value {
		versions = append(versions, p.ID.Version())
	}
	return versions
}

func deletedNames(page azsecrets.ListDeletedSecretPropertiesResponse) (names []string) {
	for _, p := range page.Value {
		names = append(names, p.ID.Name())
	}
	return names
}

// listSecrets fills the vault and reads it in pages of both sizes. It runs first, in an empty
// vault, so that the pages can be told exactly.
func listSecrets(ctx context.Context, s *suite, f *findings) error {
	_, before, err := collect(ctx, s.client.NewListSecretPropertiesPager(nil), secretNames)
	if err != nil {
		return fmt.Errorf("list an empty vault: %w", err)
	}
	f.equal("names in an empty vault", len(before), 0)

	var want []string
	for i := range paged {
		want = append(want, fmt.Sprintf("list-%02d", i))
	}
	if err := eachAtOnce(want, func(name string) error { return s.set(ctx, name, "value of "+name) }); err != nil {
		return err
	}
	for _, tt := range []struct {
		size  int // 0: the service's default
		sizes []int
	}{
		{0, []int{defaultPage, defaultPage, 10}},
		{smallPage, []int{smallPage, smallPage, smallPage, smallPage, smallPage, smallPage}},
	} {
		ctx := ctx
		if tt.size > 0 {
			ctx = withPageSize(ctx, tt.size)
		}
		sizes, names, err := collect(ctx, s.client.NewListSecretPropertiesPager(nil), secretNames)
		if err != nil {
			return fmt.Errorf("list in pages of %d: %w", tt.size, err)
		}
		f.equal(fmt.Sprintf("pages with maxresults %d", tt.size), sizes, tt.sizes)
		f.equal("names listed", names, want)
	}
	return nil
}

// listVersions reads the versions of one secret in two pages, and of a name nobody has used.
func listVersions(ctx context.Context, s *suite, f *findings) error {
	const name, n = "list-versions", 27
	var want []string
	for i := range n {
		made, err := s.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: ptr(fmt.Sprint(i))}, nil)
		if err != nil {
			return err
		}
		want = append(want, made.ID.Version())
	}
	slices.Sort(want)
	sizes, versions, err := collect(ctx, s.client.NewListSecretPropertiesVersionsPager(name, nil), versionsOf)
	if err != nil {
		return err
	}
	f.equal("pages of versions", sizes, []int{defaultPage, n - defaultPage})
	f.equal("versions listed", versions, want)

	_, none, err := collect(ctx, s.client.NewListSecretPropertiesVersionsPager("never-set", nil), versionsOf)
	f.equal("versions of an unknown name", len(none), 0)
	return err
}

// listDeleted deletes the secrets of listSecrets, reads the list of deleted ones in pages, and
// purges them.
func listDeleted(ctx context.Context, s *suite, f *findings) error {
	var want []string
	for i := range paged {
		want = append(want, fmt.Sprintf("list-%02d", i))
	}
	err := eachAtOnce(want, func(name string) error {
		_, err := s.client.DeleteSecret(ctx, name, nil)
		return err
	})
	if err != nil {
		return err
	}
	ctx10 := withPageSize(ctx, smallPage)
	sizes, names, err := collect(ctx10, s.client.NewListDeletedSecretPropertiesPager(nil), deletedNames)
	if err != nil {
		return err
	}
	f.equal("pages of deleted secrets", sizes, []int{10, 10, 10, 10, 10, 10})
	f.equal("deleted names listed", names, want)
	err = eachAtOnce(want, func(name string) error {
		_, err := s.client.PurgeDeletedSecret(ctx, name, nil)
		return err
	})
	if err != nil {
		return err
	}
	_, left, err := collect(ctx, s.client.NewListDeletedSecretPropertiesPager(nil), deletedNames)
	f.equal("deleted names after the purge", len(left), 0)
	return err
}

// set stores a value and keeps nothing of the answer.
func (s *suite) set(ctx context.Context, name, value string) error {
	_, err := s.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: &value}, nil)
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// eachAtOnce calls do for all names, a few at a time, and returns the first failure.
func eachAtOnce(names []string, do func(string) error) error {
	const workers = 6
	work, failures := make(chan string), make(chan error, workers)
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			var first error
			for name := range work {
				if err := do(name); err != nil && first == nil {
					first = err
				}
			}
			failures <- first
		})
	}
	for _, name := range names {
		work <- name
	}
	close(work)
	wait.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

func ptr[T any](v T) *T { return &v }
