package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
)

func testRing(t testing.TB) (*Ring, []SealedKey, *RootKeys) {
	t.Helper()
	root, err := newLocalKey([]byte(strings.Repeat("r", keySize)))
	if err != nil {
		t.Fatal(err)
	}
	roots := NewRootKeys(root)
	ring, stored, err := NewRing(roots, "deployment-1")
	if err != nil {
		t.Fatal(err)
	}
	return ring, stored, roots
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPublishedVectors runs the algorithms, through our own helpers where they exist.
func TestPublishedVectors(t *testing.T) {
	// RFC 5869, A.1 has a key of 22 bytes, which derive refuses: the library is asked itself.
	okm, err := hkdf.Key(sha256.New, unhex(t, strings.Repeat("0b", 22)), unhex(t, "000102030405060708090a0b0c"), string(unhex(t, "f0f1f2f3f4f5f6f7f8f9")), 42)
	if err != nil {
		t.Fatal(err)
	}
	// The GCM specification (McGrew, Viega), test case 16: AES-256, associated data, 60 bytes.
	aead, err := gcm(unhex(t, strings.Repeat("feffe9928665731c6d6a8f9467308308", 2)))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, nil, unhex(t, "cafebabefacedbaddecaf888"+
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"+
		"76fc6ece0f4e1768cddf8853bb2d551b"), unhex(t, "feedfacedeadbeeffeedfacedeadbeefabaddad2"))
	if err != nil {
		t.Fatalf("GCM test case 16 does not open: %v", err)
	}
	// RFC 4231, test case 1.
	h := hmac.New(sha256.New, unhex(t, strings.Repeat("0b", 20)))
	h.Write([]byte("Hi There"))
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"HKDF-SHA256", okm, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
		{"AES-256-GCM", plain, "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"},
		{"HMAC-SHA256", h.Sum(nil), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		// The test file of the reference implementation, version 13.
		{"Argon2id", argon2.IDKey([]byte("password"), []byte("somesalt"), 2, 65536, 1, 32), "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestFormatByHand opens a sealed value and recomputes a row MAC with the standard library
// and this file's own words, as a foreign reader of the package comment would.
func TestFormatByHand(t *testing.T) {
	part := func(tag byte, s string) string {
		return string(binary.BigEndian.AppendUint64([]byte{tag}, uint64(len(s)))) + s
	}
	raw := strings.Repeat("k", 32)
	sealed, err := DataKeys{keys: []dataKey{{2, NewValue([]byte(raw))}}}.Seal(Place{"vault", "secret", "db", "v1", 7}, NewValue([]byte(hush)))
	if err != nil {
		t.Fatal(err)
	}
	info := part(1, "strongroom value v1") + part(1, "vault") + part(1, "secret") + part(1, "db") + part(1, "v1") + part(3, "\x00\x00\x00\x00\x00\x00\x00\x07")
	key, _ := hkdf.Key(sha256.New, []byte(raw), nil, info, 32)
	block, _ := aes.NewCipher(key)
	standard, _ := cipher.NewGCM(block)
	header := sealed[:8]
	got, err := standard.Open(nil, sealed[8:20], sealed[20:], append(slices.Clone(header), info...))
	if err != nil || string(got) != hush {
		t.Errorf("opened by hand: %q, %v, want %q", got, err, hush)
	}
	if want := "\x01\x01\x00\x02\x00\x00\x00" + string(rune(len(hush))); string(header) != want {
		t.Errorf("header %x, want %x", header, want)
	}

	ring, _, _ := testRing(t)
	mac := ring.RowMAC("t", "a", nil, true)
	h := hmac.New(sha256.New, ring.newest(purposeMAC).key.Reveal())
	h.Write([]byte(string(mac[:5]) + part(1, "strongroom row v1") + part(1, "t") + part(1, "a") + part(0, "") + part(4, "\x01")))
	if want := h.Sum(nil); !hmac.Equal(mac[5:], want) {
		t.Errorf("row MAC %x, want %x", mac[5:], want)
	}
}

func TestEncodingIsInjective(t *testing.T) {
	empty, zero := "", int64(0)
	lists := [][]any{
		{},
		{nil},
		{nil, nil},
		{""},
		{[]byte{}},
		{0},
		{false},
		{true},
		{1},
		{-1},
		{"\x00"},
		{[]byte{0}},
		{"ab", "c"},
		{"a", "bc"},
		{"abc"},
		{"abc", ""},
		{"", "abc"},
		{"a", "b", "c"},
		{[]byte("ab"), "c"},
		{"ab", []byte("c")},
		{"\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"1"},
		{"null"},
		{nil, "a"},
		{"a", nil},
		{1, 2},
		{2, 1},
		{int64(1 << 32)},
		{string(encode("l", "a"))},
		{"l", "a"},
	}
	seen := make(map[string]int)
	for i, fields := range lists {
		got := string(encode("l", fields...))
		if j, taken := seen[got]; taken {
			t.Errorf("encode(%q) = encode(%q), want them to differ", fields, lists[j])
		}
		seen[got] = i
	}
	for _, same := range [][2]any{{7, int64(7)}, {&empty, ""}, {&zero, 0}, {(*string)(nil), nil}, {(*int64)(nil), nil}, {[]byte(nil), []byte{}}} {
		if a, b := encode("l", same[0]), encode("l", same[1]); string(a) != string(b) {
			t.Errorf("encode(%#v) = %x, encode(%#v) = %x, want the same", same[0], a, same[1], b)
		}
	}
	if string(encode("la", "b")) == string(encode("l", "ab")) {
		t.Error("label and first field run together")
	}
}

func TestEncodingRefusesOtherTypes(t *testing.T) {
	for _, field := range []any{1.5, uint8(1), []string{"a"}, struct{}{}, NewValue([]byte(hush))} {
		func() {
			defer func() {
				if got := recover(); got == nil || shown(got.(string)) {
					t.Errorf("encode(%T) panics with %v, want the type alone", field, got)
				}
			}()
			encode("l", field)
		}()
	}
}
