package envelope

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// A Value is the plaintext of a secret, or a key. However it is printed, logged or marshalled
// it shows [redacted]. The bytes sit in a closure because fmt does not call methods on
// unexported fields: a plain []byte would appear when the struct around it is printed.
//
// Reveal and ForAnswer are the only ways in; their callers are all the places where plaintext
// leaves. The zero Value holds nothing, which differs from holding no bytes. A Value may be
// shared between goroutines as long as nobody changes its bytes.
//
// In a request, a field of type *Value is nil where the member is absent or null.
type Value struct {
	redacted
	reveal func() []byte
}

// NewValue makes a Value of b and owns b from then on. A nil b gives the zero Value.
func NewValue(b []byte) Value {
	if b == nil {
		return Value{}
	}
	return Value{reveal: func() []byte { return b }}
}

// Reveal returns the plaintext itself, not a copy: read it, do not change or keep it.
// The zero Value reveals nil.
func (v Value) Reveal() []byte {
	if v.reveal == nil {
		return nil
	}
	return v.reveal()
}

// Len is the length of the plaintext in bytes.
func (v Value) Len() int { return len(v.Reveal()) }

// ForAnswer wraps the plaintext for the body of an answer. Only wire types of answers have
// fields of type Revealed.
func (v Value) ForAnswer() Revealed { return Revealed{value: v} }

// errMalformed stands for the decoder's own error, which quotes pieces of its input.
var errMalformed = errors.New("malformed JSON string")

// UnmarshalJSONFrom takes a JSON string and keeps its bytes; null gives the zero Value. No
// error it returns quotes the input. Failures of the reader behind the decoder pass through.
func (v *Value) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch kind := dec.PeekKind(); kind {
	case '"', 0: // 0: the next token is malformed; ReadValue says so
	case 'n':
		*v = Value{}
		return dec.SkipValue()
	default:
		return fmt.Errorf("found JSON %s: want a string", kind)
	}
	raw, err := dec.ReadValue()
	if err != nil {
		if _, syntactic := errors.AsType[*jsontext.SyntacticError](err); syntactic {
			return errMalformed
		}
		return fmt.Errorf("read value: %w", err)
	}
	plain, err := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	if err != nil {
		return errMalformed
	}
	*v = NewValue(plain)
	return nil
}

// Revealed is a Value in an answer: the JSON encoder of the wire, and nothing else, writes
// its plaintext. It prints and logs as [redacted], also through encoding/json, which slog uses.
type Revealed struct {
	redacted
	value Value
}

// MarshalJSONTo writes the plaintext as a JSON string, and the zero Value as null. Plaintext
// that is not UTF-8 is an error. An encoder with the first version's semantics writes
// [redacted]: that is slog's, once encoding/json stands on this library (Go 1.27).
func (r Revealed) MarshalJSONTo(enc *jsontext.Encoder) error {
	if v1, _ := json.GetOption(enc.Options(), jsonv1.ReportErrorsWithLegacySemantics); v1 {
		return enc.WriteToken(jsontext.String(redaction))
	}
	plain := r.value.Reveal()
	if plain == nil {
		return enc.WriteToken(jsontext.Null)
	}
	quoted, err := jsontext.AppendQuote(make([]byte, 0, len(plain)+2), plain)
	if err != nil {
		return errors.New("the plaintext is not UTF-8")
	}
	return enc.WriteValue(quoted)
}
