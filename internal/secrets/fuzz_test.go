package secrets

import (
	"testing"

	"strongroom/internal/db/dbtest"
)

// FuzzOpenArchive reads what stands in a backup blob that opens: older releases and other builds may
// have written it. What is taken has a format and a version to restore.
func FuzzOpenArchive(f *testing.F) {
	for _, seed := range []string{
		`{"format":1,"name":"a","versions":[{"version":"00000000000000000000000000000000","enabled":true,"created_us":1,"updated_us":1,"value":"eA=="}]}`,
		`{"format":1,"versions":[]}`, `{"format":2}`, `null`, `{"format":1,"versions":[{"value":"*"}]}`, `{"format":1,"versions":[{"value":1}]}`,
	} {
		f.Add([]byte(seed))
	}
	s := &Store{Ring: dbtest.Ring(f)}
	f.Fuzz(func(t *testing.T, plain []byte) {
		blob, err := s.Ring.SealBackup("secret", plain)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := s.OpenArchive(blob); err == nil && (a.Format != backupFormat || len(a.Versions) == 0) {
			t.Errorf("%q opens as an archive of format %d with %d versions", plain, a.Format, len(a.Versions))
		}
		if _, err := s.OpenArchive(plain); err == nil {
			t.Errorf("%q opens without a seal", plain)
		}
	})
}
