// Package audit keeps the record of who asked for what and how it ended.
//
// An entry of an executed operation is durable before its answer leaves: the pipeline puts it
// into the journal row of the operation's own commit, or, for a read or a refusal, into a commit
// shared with others. Requests without a valid token reveal nothing and are counted instead
// (Counter), so that strangers can neither fill the log nor stop the service.
//
// An entry is canonical bytes, so that a tree of hashes can stand over them:
//
//	version (1 byte, 1)
//	then for each field that is not empty, by ascending tag:
//	tag (1 byte) | length (uvarint) | value
//
// A text value begins with its form: 'g' and 16 bytes for a GUID in lower case, 'h' and 16
// bytes for 32 hexadecimal characters in lower case, 't' and the text for all else. A number is
// a uvarint. Text that callers supply is cut to a length and stripped of control characters
// before it gets here (Clean), so that it can neither break a line nor swell the log.
package audit

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const formatVersion = 1

// An Entry is one executed operation, or a count of refused anonymous requests.
type Entry struct {
	Time          time.Time     // when the request arrived, UTC, microseconds
	Duration      time.Duration // until the entry was made
	RequestID     string        // ours, one per request
	Ordinal       int64         // of the operation within the request, from 0
	CorrelationID string        // the caller's, or empty
	Operation     string        // Azure's name, e.g. SecretGet
	APIVersion    string
	Method        string
	Host          string // by which the request came
	Path          string // canonical path, without the query
	Status        int64  // of the HTTP answer
	Code          string // of the refusal, or empty
	MissingAction string // of a denial
	MissingScope  string
	Assignment    string // the role assignment that allowed it
	Revision      int64  // of authorisation, by which it was decided

	PrincipalKind string
	ObjectID      string
	AppID         string
	Principal     string // display name or UPN
	CredentialID  string
	TokenID       string
	Issuer        string // of the token; empty for our own

	VaultID      string
	Subscription string
	Group        string
	Vault        string
	Collection   string // secrets, keys, certificates
	Object       string
	Version      string // served or made
	Pinned       bool   // the caller named the version

	GrantedRole string // role definition that was given or taken
	GrantedTo   string // principal

	Address    string // of the caller
	ClientInfo string // its User-Agent, cut
	TLS        string // TLS1_2 or TLS1_3
	Node       string
	Count      int64  // of requests that the entry stands for; 0 means 1
	Detail     string // what was found, in an entry of our own work
}

// A field ties a tag to a member; exactly one of text and num is set.
type field struct {
	tag  byte
	text *string
	num  *int64
}

// fields lists the members by ascending tag. Tags are never reused. It is an array, so that a hot path
// has it on the stack.
func (e *Entry) fields(arrived, took, pinned *int64) [39]field {
	return [...]field{
		{1, nil, arrived},
		{2, nil, took},
		{3, &e.RequestID, nil},
		{4, nil, &e.Ordinal},
		{5, &e.CorrelationID, nil},
		{6, &e.Operation, nil},
		{7, &e.APIVersion, nil},
		{8, &e.Method, nil},
		{9, &e.Host, nil},
		{10, &e.Path, nil},
		{11, nil, &e.Status},
		{12, &e.Code, nil},
		{13, &e.MissingAction, nil},
		{14, &e.MissingScope, nil},
		{15, &e.Assignment, nil},
		{16, nil, &e.Revision},
		{17, &e.PrincipalKind, nil},
		{18, &e.ObjectID, nil},
		{19, &e.AppID, nil},
		{20, &e.Principal, nil},
		{21, &e.CredentialID, nil},
		{22, &e.TokenID, nil},
		{23, &e.Issuer, nil},
		{24, &e.VaultID, nil},
		{25, &e.Subscription, nil},
		{26, &e.Group, nil},
		{27, &e.Vault, nil},
		{28, &e.Collection, nil},
		{29, &e.Object, nil},
		{30, &e.Version, nil},
		{31, nil, pinned},
		{32, &e.Address, nil},
		{33, &e.ClientInfo, nil},
		{34, &e.TLS, nil},
		{35, &e.Node, nil},
		{36, nil, &e.Count},
		{37, &e.GrantedRole, nil},
		{38, &e.GrantedTo, nil},
		{39, &e.Detail, nil},
	}
}

// Encode returns the entry's canonical bytes.
func (e Entry) Encode() []byte {
	arrived, took, pinned := e.Time.UnixMicro(), e.Duration.Microseconds(), int64(0)
	if e.Pinned {
		pinned = 1
	}
	b := append(make([]byte, 0, 384), formatVersion)
	for _, f := range e.fields(&arrived, &took, &pinned) {
		switch {
		case f.num != nil && *f.num > 0:
			b = append(b, f.tag, byte(uvarintLen(uint64(*f.num))))
			b = binary.AppendUvarint(b, uint64(*f.num))
		case f.text != nil && *f.text != "":
			b = appendText(append(b, f.tag), *f.text)
		}
	}
	return b
}

// Decode reads an entry's bytes. Fields of a later release of the same format are passed over.
func Decode(b []byte) (Entry, error) {
	if len(b) == 0 || b[0] != formatVersion {
		return Entry{}, errors.New("audit entry: want format version 1")
	}
	var e Entry
	var arrived, took, pinned int64
	byTag := map[byte]field{}
	for _, f := range e.fields(&arrived, &took, &pinned) {
		byTag[f.tag] = f
	}
	for b = b[1:]; len(b) > 0; {
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return Entry{}, errors.New("audit entry is cut short")
		}
		v := b[1+w : 1+w+int(n)]
		if err := byTag[b[0]].set(v); err != nil {
			return Entry{}, fmt.Errorf("audit entry, field %d: %w", b[0], err)
		}
		b = b[1+w+int(n):]
	}
	e.Time = time.UnixMicro(arrived).UTC()
	e.Duration = time.Duration(took) * time.Microsecond
	e.Pinned = pinned == 1
	return e, nil
}

func (f field) set(v []byte) (err error) {
	switch {
	case f.num != nil:
		n, w := binary.Uvarint(v)
		if w != len(v) {
			return errors.New("want a number")
		}
		*f.num = int64(n)
	case f.text != nil:
		*f.text, err = unpackText(v)
	}
	return err
}

// uvarintLen is how many bytes a number takes as a uvarint: seven bits in each.
func uvarintLen(n uint64) int { return max(1, (bits.Len64(n)+6)/7) }

// appendText appends a text's length and its value, in the shortest form that brings it back.
func appendText(b []byte, s string) []byte {
	form := byte('t')
	switch {
	case len(s) == 32 && isHex(s):
		form = 'h'
	case len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isHex(s[:8]) && isHex(s[9:13]) && isHex(s[14:18]) && isHex(s[19:23]) && isHex(s[24:]):
		form = 'g'
	}
	if form == 't' {
		b = binary.AppendUvarint(b, uint64(1+len(s)))
		return append(append(b, form), s...)
	}
	b = append(b, 1+16, form)
	for i := 0; i < len(s); i += 2 {
		if s[i] == '-' {
			i++
		}
		b = append(b, nibble(s[i])<<4|nibble(s[i+1]))
	}
	return b
}

// isHex wants lower case only: upper case would not come back as it was.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// nibble is the value of a digit that isHex has seen.
func nibble(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func unpackText(v []byte) (string, error) {
	switch {
	case len(v) == 17 && v[0] == 'h':
		return hex.EncodeToString(v[1:]), nil
	case len(v) == 17 && v[0] == 'g':
		h := hex.EncodeToString(v[1:])
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
	case len(v) > 0 && v[0] == 't':
		return string(v[1:]), nil
	}
	return "", errors.New("want a text")
}

// isPlain says whether s is printable ASCII, as nearly all text is.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// cut stands at the end of text that was longer than its limit.
const cut = "..."

// Clean makes text that a caller supplied fit for the log: at most limit bytes, valid UTF-8, no
// control characters, no line separators, and nothing that turns the direction of writing, by which
// a line can be made to look like another. What was cut shows it.
func Clean(s string, limit int) string {
	if len(s) <= limit && isPlain(s) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for len(s) > max(0, limit-len(cut)) {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s + cut
}
