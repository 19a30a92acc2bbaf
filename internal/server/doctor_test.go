package server

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"strongroom/internal/config"
)

// What Doctor says of the root key names the setting that is in use, and the one that would do.
func TestDoctorRootKey(t *testing.T) {
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	write(t, passphrase, "correct horse battery staple\n")
	wrong := filepath.Join(t.TempDir(), "wrong")
	write(t, wrong, "correct horse battery stable\n")
	byFile := testConfig(t)
	byPassphrase := testConfig(t)
	byPassphrase.RootKey = config.RootKey{PassphraseFile: passphrase, InsideDataDir: true}
	otherKey := testConfig(t)
	for _, cfg := range []config.Config{byFile, byPassphrase, otherKey} {
		startApp(t, cfg).close()
	}
	const setFile = "set root_key.file to this deployment's key, mode 600, outside data_dir"
	const setPassphrase = "set root_key.passphrase_file to a file with this deployment's passphrase, mode 600"
	for _, tt := range []struct {
		name          string
		cfg           config.Config
		key           config.RootKey
		subject, mend string // mend: "" means that all is well
	}{
		{"the key file", byFile, byFile.RootKey, "root_key.file", ""},
		{"the passphrase", byPassphrase, byPassphrase.RootKey, "root_key.passphrase_file", ""},
		{"another key file", byFile, otherKey.RootKey, "root_key.file", setFile},
		{"a wrong passphrase", byPassphrase, config.RootKey{PassphraseFile: wrong}, "root_key.passphrase_file", setPassphrase},
		{"no passphrase file", byPassphrase, config.RootKey{PassphraseFile: wrong + "x"}, "root_key.passphrase_file", setPassphrase},
		{"a passphrase for a key file", byFile, config.RootKey{PassphraseFile: passphrase}, "root_key.passphrase_file", setFile + ", in place of root_key.passphrase_file"},
		{"a key file for a passphrase", byPassphrase, byFile.RootKey, "root_key.file", setPassphrase + ", in place of root_key.file"},
	} {
		cfg := tt.cfg
		cfg.RootKey = tt.key
		cfg.RootKey.InsideDataDir = true
		f := findingOf(t, Doctor(context.Background(), Options{Config: cfg}), "root_key")
		if f.Subject != tt.subject || f.Mend != tt.mend || f.OK != (tt.mend == "") {
			t.Errorf("%s: %+v, want %s and to mend %q", tt.name, f, tt.subject, tt.mend)
		}
	}
}

func findingOf(t *testing.T, all []Finding, subject string) Finding {
	t.Helper()
	for _, f := range all {
		if strings.HasPrefix(f.Subject, subject) {
			return f
		}
	}
	t.Fatalf("no finding about %s in %+v", subject, all)
	return Finding{}
}
