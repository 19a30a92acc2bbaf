//go:build unix

package leak

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf16"
)

// window is how many bytes the search looks at first. Every needle is at least as long.
const window = 8

// Needles are all secrets in all encodings. A search goes through a haystack once, however many
// there are: it looks up each eight bytes.
type needles struct {
	byStart map[uint64][]needle
	filter  [1 << 14]uint64 // a bit for each start, so that most places cost one look
	count   int
}

type needle struct {
	what  string
	bytes []byte
	home  string // the file in which it belongs, or ""
}

// add takes a secret. Its first letters and digits are what is looked for, since they survive all
// quoting and escaping; the encodings that change them are looked for beside.
func (n *needles) add(what, secret, home string) {
	core := longestPlain(secret)
	if len(core) < 12 { // too few to be told from chance: its punctuation too, which quoting leaves alone
		core = secret
	}
	core = core[:min(len(core), 48)]
	for encoding, text := range encodings(core) {
		n.put(needle{what + ", " + encoding, text, home})
	}
}

func (n *needles) put(one needle) {
	if n.byStart == nil {
		n.byStart = map[uint64][]needle{}
	}
	start := binary.LittleEndian.Uint64(one.bytes)
	n.byStart[start] = append(n.byStart[start], one)
	h := hash(start)
	n.filter[h/64] |= 1 << (h % 64)
	n.count++
}

func hash(start uint64) uint64 { return start * 0x9e3779b97f4a7c15 >> 44 }

// longestPlain is the longest run of letters and digits.
func longestPlain(s string) (longest string) {
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z')
	}) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	return longest
}

// encodings are the forms in which letters and digits may stand somewhere. Base64 depends on what is
// before, so there are three of it; what its ends share with their neighbours is left out. The plain
// form covers JSON, URLs, HTML, logfmt and Go's quoted strings, which leave letters and digits alone.
func encodings(core string) map[string][]byte {
	out := map[string][]byte{
		"plain": []byte(core), "hex": []byte(hex.EncodeToString([]byte(core))),
		"HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(core)))),
	}
	for before := range 3 {
		text := base64.RawURLEncoding.EncodeToString(append(make([]byte, before), core...))
		first := []int{0, 2, 3}[before]
		// Of letters and digits alone both alphabets of base64 make the same, but for these.
		text = text[first : len(text)-len(text)%4]
		out[fmt.Sprintf("base64url at %d", before)] = []byte(text)
		out[fmt.Sprintf("base64 at %d", before)] = []byte(strings.NewReplacer("-", "+", "_", "/").Replace(text))
	}
	var wide []byte
	var percent, unicode, numbers strings.Builder
	for _, u := range utf16.Encode([]rune(core)) {
		wide = binary.LittleEndian.AppendUint16(wide, u)
		fmt.Fprintf(&percent, "%%%02X", u)
		fmt.Fprintf(&unicode, `\u%04x`, u)
		fmt.Fprintf(&numbers, "%d ", u)
	}
	// Of the big end only the first zero is more.
	out["UTF-16"] = wide[:len(wide)-1]
	out["URL escapes"], out["JSON escapes"] = []byte(percent.String()), []byte(unicode.String())
	out["numbers, as Go prints bytes"] = []byte(strings.TrimSpace(numbers.String()))
	return out
}

// in looks through a haystack of a name.
func (n *needles) in(place string, hay []byte) (found []string) {
	for i := 0; i+window <= len(hay); i++ {
		start := binary.LittleEndian.Uint64(hay[i:])
		if h := hash(start); n.filter[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, one := range n.byStart[start] {
			if (one.home == "" || !strings.HasSuffix(place, one.home)) && bytes.HasPrefix(hay[i:], one.bytes) {
				found = append(found, fmt.Sprintf("%s, in %s at byte %d", one.what, place, i))
			}
		}
	}
	for i, unpacked := range members(hay) {
		found = append(found, n.in(fmt.Sprintf("%s, unpacked %d", place, i), unpacked)...)
	}
	return found
}

// members are the contents of all gzip members in a haystack, whatever stands around them.
func members(hay []byte) (all [][]byte) {
	magic := []byte{0x1f, 0x8b, 8}
	for {
		i := bytes.Index(hay, magic)
		if i < 0 {
			return all
		}
		hay = hay[i:]
		if z, err := gzip.NewReader(bytes.NewReader(hay)); err == nil {
			z.Multistream(false)
			if b, _ := io.ReadAll(io.LimitReader(z, 64<<20)); len(b) > 0 { // what is cut short counts too
				all = append(all, b)
			}
		}
		hay = hay[len(magic):]
	}
}

// TestSearchFindsEveryEncoding hides a secret in every form, at places that fit nothing.
func TestSearchFindsEveryEncoding(t *testing.T) {
	var n needles
	const secret = `"Zk8/4é` + "q7WmXvB2nTtR5yLc" + `\<`
	n.add("the secret", secret, "")
	for name, text := range map[string]string{
		"plain": secret, "quoted": fmt.Sprintf("%q", secret), "JSON": `{"a":"\"Zk8/4\u00e9q7WmXvB2nTtR5yLc\\\u003c"}`,
		"hex": hex.EncodeToString([]byte(secret)), "HEX": fmt.Sprintf("%X", secret), "Go's bytes": fmt.Sprint([]byte(secret)),
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "base64url": base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"base64 within": base64.StdEncoding.EncodeToString([]byte("x" + secret)), "base64 behind two": base64.StdEncoding.EncodeToString([]byte("xy" + secret + "z")),
		"UTF-16": wide(binary.LittleEndian, secret), "UTF-16, big end": wide(binary.BigEndian, secret),
		"percent": "%71%37%57%6D%58%76%42%32%6E%54%74%52%35%79%4C%63", "unicode": `\u0071\u0037\u0057\u006d\u0058\u0076\u0042\u0032\u006e\u0054\u0074\u0052\u0035\u0079\u004c\u0063`,
		"gzip": packed(t, secret),
	} {
		if found := n.in("here", []byte("odd"+text+"more")); len(found) == 0 {
			t.Errorf("%s: the secret was not found in %.100q", name, text)
		}
	}
	if found := n.in("here", []byte(strings.Repeat("nothing of it, q7WmXvB2 nTtR5yLc ", 1000))); len(found) != 0 {
		t.Errorf("found %q where nothing is", found)
	}
}

func wide(order binary.AppendByteOrder, s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func packed(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
