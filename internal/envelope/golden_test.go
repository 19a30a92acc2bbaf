package envelope

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// goldenRing has fixed keys, each 32 times the first letter of its purpose, with that letter
// four times as its id.
func goldenRing(t testing.TB) *Ring {
	t.Helper()
	root, err := newLocalKey(bytes.Repeat([]byte("r"), keySize))
	if err != nil {
		t.Fatal(err)
	}
	r := &Ring{roots: NewRootKeys(root), deployment: "golden", keys: make(map[string][]ringKey)}
	for _, purpose := range purposes {
		letter := []byte(purpose[:1])
		id := [keyIDSize]byte(bytes.Repeat(letter, keyIDSize))
		r.keys[purpose] = []ringKey{{id: id, key: NewValue(bytes.Repeat(letter, keySize))}}
	}
	return r
}

var goldenDataKeys = DataKeys{keys: []dataKey{{7, NewValue(bytes.Repeat([]byte("k"), keySize))}}}

type goldenCase struct {
	name, sealed string
	open         func(r *Ring, sealed []byte) ([]byte, error)
}

// golden is what the first release sealed: "golden" in every place. Stored data of a user
// looks like this, so a change that breaks one of these lines needs a new format byte.
var golden = []goldenCase{
	{"value", "010100070000000674ac992bcd88adeb474ca63e5bbdc67d8479b12a1b4678974b06513b1f3c41740a01", func(_ *Ring, b []byte) ([]byte, error) {
		v, err := goldenDataKeys.Open(here, b)
		return v.Reveal(), err
	}},
	{"data key", "010100071032656163656665353231643933656236004d0199e2fdec1f6775356339e6dbc9e70e6514d5c4e9b1f1f41815989af4110723bcf5780d84d7bca3ab268d3ddb9a30e3e7c747a15f63b1353e17f1bcff04874611c97aec9e86b1759d1cf75367", func(r *Ring, b []byte) ([]byte, error) {
		k, err := r.OpenDataKeys("v-1", b)
		if err != nil {
			return nil, err
		}
		return k.keys[0].key.Reveal(), nil
	}},
	{"system", "01737373736b28eb8595b0e1e1415f31cdf9e7bca0f5a8db3ec52cd2a20aed931a3b7fef4edc57e54a4c159602411f735e4f97feb0d132", func(r *Ring, b []byte) ([]byte, error) { return r.OpenSystem("signing", "1", b) }},
	{"backup", "01626262625ef0c5d32856a612ea64f23f04fd2fec6d74d4771bd3dcb1f7a6d4ddaaee6f701fffc4db4df4fe25cb8a378aff3e0f7f9c69", func(r *Ring, b []byte) ([]byte, error) { return r.OpenBackup("secret", b) }},
	{"token", "0173737373262761a53424ee893f06025fd5de6b0c4e3d9a4a2cdf22aede0a327dd043daeabdd9c366f0a6de3d2f7088ce4d85edc2f6bb", func(r *Ring, b []byte) ([]byte, error) { return r.OpenToken("skip", b) }},
}

const (
	goldenRow    = "016d6d6d6d1601f4b55ca73802baecea51ffb4cdae6d970829c19bcc0d902aa523e6e8a8b2"
	goldenPepper = "0170707070c51bbc74f0e7c5eb087437cad6548acacfb01672fcc6b1f0244cb60759136f12"
	goldenRootID = "2eacefe521d93eb6"
)

// goldenPlain is "golden", made 32 bytes long where a key is wanted.
func goldenPlain(name string) string {
	if name == "data key" {
		return "golden" + strings.Repeat(".", keySize-6)
	}
	return "golden"
}

func TestGolden(t *testing.T) {
	r := goldenRing(t)
	for _, g := range golden {
		if got, err := g.open(r, unhex(t, g.sealed)); err != nil || string(got) != goldenPlain(g.name) {
			t.Errorf("%s: opens as %q, %v, want %q", g.name, got, err, goldenPlain(g.name))
		}
	}
	if got := hex.EncodeToString(r.RowMAC("t", "a", []byte("b"), 1, true, nil)); got != goldenRow {
		t.Errorf("RowMAC = %s, want %s", got, goldenRow)
	}
	if got := hex.EncodeToString(r.Pepper("client", []byte("golden"))); got != goldenPepper {
		t.Errorf("Pepper = %s, want %s", got, goldenPepper)
	}
	if got := r.roots.Newest(); got != goldenRootID {
		t.Errorf("root key id = %s, want %s", got, goldenRootID)
	}
}

func FuzzDataKeyOpen(f *testing.F) { fuzzOpen(f, "value", ErrTampered) }
func FuzzOpenDataKey(f *testing.F) { fuzzOpen(f, "data key", nil) }
func FuzzOpenBackup(f *testing.F)  { fuzzOpen(f, "backup", ErrForeign) }
func FuzzOpenToken(f *testing.F)   { fuzzOpen(f, "token", ErrForeign) }

// fuzzOpen demands that only the golden bytes open, and that all else fails with exactly want
// where that is promised.
func fuzzOpen(f *testing.F, name string, want error) {
	r := goldenRing(f)
	g := golden[slices.IndexFunc(golden, func(g goldenCase) bool { return g.name == name })]
	sealed, err := hex.DecodeString(g.sealed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:ringHeaderSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := g.open(r, b)
		if (err == nil) != bytes.Equal(b, sealed) || err != nil && want != nil && err != want { //nolint:errorlint // the bare error is the promise
			t.Errorf("open(%x): %v, want %v for all but the golden bytes", b, err, want)
		}
	})
}
