package envelope

import (
	"bytes"
	stdjson "encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

const hush = "hush-8c1f-not-to-be-seen"

// shown lists the forms in which the plaintext could slip out.
func shown(out string) bool {
	decimal := strings.Trim(fmt.Sprint([]byte(hush)), "[]")
	for _, form := range []string{hush, fmt.Sprintf("%x", hush), fmt.Sprintf("%X", hush), decimal, fmt.Sprintf("%#v", []byte(hush))} {
		if strings.Contains(out, form) {
			return true
		}
	}
	return false
}

// kept has a name because XML elements need one.
type kept struct{ K any }

type holder struct {
	Exported any
	hidden   any
	value    Value
	answer   Revealed
	data     DataKeys
	list     []Value
	byName   map[string]Value
}

// keepers returns every type that holds a secret, each holding hush or a key.
func keepers(t *testing.T) map[string]any {
	v := NewValue([]byte(hush))
	ring, _, root := testRing(t)
	data := DataKeys{keys: []dataKey{{1, v}}}
	return map[string]any{
		"value": v, "pointer": &v, "revealed": v.ForAnswer(), "data key": data, "ring": ring, "root key": root,
		"local key": &localKey{id: "00", wrap: v}, "held ring": &Ring{roots: root, keys: map[string][]ringKey{"mac": {{key: v}}}},
	}
}

func TestRedactionInEveryVerb(t *testing.T) {
	for name, k := range keepers(t) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%o", "%e", "%c", "%U", "%08v"} {
			if got := fmt.Sprintf(verb, k); got != redaction {
				t.Errorf("%s: Sprintf(%q) = %q, want %q", name, verb, got, redaction)
			}
		}
		if got := fmt.Sprintf("%p %T", k, k); shown(got) {
			t.Errorf("%s: pointer and type show the plaintext: %q", name, got)
		}
	}
}

func TestRedactionInsideStructs(t *testing.T) {
	v := NewValue([]byte(hush))
	for name, k := range keepers(t) {
		h := holder{k, k, v, v.ForAnswer(), DataKeys{keys: []dataKey{{1, v}}}, []Value{v}, map[string]Value{"a": v}}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, outer := range []any{h, &h, []holder{h}, map[string]any{"h": h}, fmt.Errorf("wrap: %v", h)} {
				if got := fmt.Sprintf(verb, outer); shown(got) {
					t.Errorf("%s: Sprintf(%q) of %T shows the plaintext: %q", name, verb, outer, got)
				}
			}
		}
	}
}

func TestRedactionInLogs(t *testing.T) {
	for name, k := range keepers(t) {
		var out bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			out.Reset()
			slog.New(h).Info("m", "alone", k, "inside", struct{ K any }{k}, "held", holder{Exported: k, hidden: k})
			if got := out.String(); shown(got) || strings.Count(got, redaction) < 3 {
				t.Errorf("%s: %T logs %q, want [redacted] three times", name, h, got)
			}
		}
	}
}

func TestRedactionInEncoders(t *testing.T) {
	encoders := map[string]func(any) ([]byte, error){
		"standard": stdjson.Marshal, "first version": func(v any) ([]byte, error) { return jsonv1.Marshal(v) }, "xml": xml.Marshal,
		"ours": func(v any) ([]byte, error) { return json.Marshal(v) },
	}
	for name, k := range keepers(t) {
		for encoder, encode := range encoders {
			if name == "revealed" && encoder == "ours" {
				continue // the one encoder that shows it
			}
			got, err := encode(kept{k})
			if err != nil || shown(string(got)) || !strings.Contains(string(got), redaction) {
				t.Errorf("%s: %s encoder gives %s, %v, want [redacted]", name, encoder, got, err)
			}
		}
	}
}

func TestRevealedInAnswer(t *testing.T) {
	for _, tt := range []struct {
		plain []byte
		want  string
	}{
		{[]byte(hush), `{"v":"` + hush + `"}`},
		{[]byte("a\"\\\n\x00é\u2028"), `{"v":"a\"\\\n\u0000é` + "\u2028" + `"}`},
		{[]byte{}, `{"v":""}`},
		{nil, `{"v":null}`},
	} {
		got, err := json.Marshal(struct {
			V Revealed `json:"v"`
		}{NewValue(tt.plain).ForAnswer()})
		if err != nil || string(got) != tt.want {
			t.Errorf("answer with %q = %s, %v, want %s", tt.plain, got, err, tt.want)
		}
	}
	if got, err := json.Marshal(NewValue([]byte(hush + "\xff")).ForAnswer()); err == nil || shown(err.Error()) {
		t.Errorf("answer with bad UTF-8 = %s, %v, want an error that shows nothing", got, err)
	}
}

func TestValueFromRequest(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want any    // string, or nil for no value at all
		err  string // a part of the text; "" means success
	}{
		{in: `{}`},
		{in: `{"value":null}`},
		{in: `{"value":""}`, want: ""},
		{in: `{"value":"a\u00e9\ud83d\ude00\n\u0000"}`, want: "aé😀\n\x00"},
		{in: `{"value":12345678}`, err: "want a string"},
		{in: `{"value":true}`, err: "want a string"},
		{in: `{"value":{"hush-8c1f-not-to-be-seen":1}}`, err: "want a string"},
		{in: `{"value":["hush-8c1f-not-to-be-seen"]}`, err: "want a string"},
		{in: `{"value":"hush-8c1f-not-to-be-seen\ud800"}`, err: "malformed"},
		{in: `{"value":"hush-8c1f-not-to-be-seen\q"}`, err: "malformed"},
		{in: "{\"value\":\"hush-8c1f-not-to-be-seen\xff\"}", err: "malformed"},
		{in: `{"value":"hush-8c1f-not-to-be-seen`, err: "malformed"},
		{in: `{"value":hush-8c1f-not-to-be-seen}`, err: "malformed"},
	} {
		var body struct {
			Value *Value `json:"value"`
		}
		err := json.Unmarshal([]byte(tt.in), &body)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || shown(err.Error()) || strings.Contains(err.Error(), "12345678") {
				t.Errorf("decode %q: error %v, want %q and no input", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || !sameValue(body.Value, tt.want) {
			t.Errorf("decode %q = %v, %v, want %v", tt.in, body.Value, err, tt.want)
		}
	}
}

func sameValue(got *Value, want any) bool {
	if want == nil {
		return got == nil
	}
	return got != nil && got.Reveal() != nil && string(got.Reveal()) == want
}

func TestValueNullAndReaderFailure(t *testing.T) {
	v := NewValue([]byte(hush))
	if err := json.Unmarshal([]byte("null"), &v); err != nil || v.Reveal() != nil || v.Len() != 0 {
		t.Errorf("null gives %d bytes, %v, want the zero Value", v.Len(), err)
	}
	limit := errors.New("body over the limit")
	r := io.MultiReader(strings.NewReader(`{"v":"`+hush), failing{limit})
	var body struct {
		V Value `json:"v"`
	}
	if err := json.UnmarshalRead(r, &body); !errors.Is(err, limit) || shown(err.Error()) {
		t.Errorf("broken reader: %v, want %v", err, limit)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestZeroValue(t *testing.T) {
	var v Value
	if v.Reveal() != nil || v.Len() != 0 || NewValue(nil).Reveal() != nil {
		t.Errorf("zero Value reveals %q, want nil", v.Reveal())
	}
	if got := NewValue([]byte{}); got.Reveal() == nil {
		t.Error("a Value of no bytes reveals nil, want an empty slice")
	}
	if got, err := json.Marshal(v); err != nil || string(got) != `"[redacted]"` {
		t.Errorf("Marshal(zero Value) = %s, %v, want [redacted]", got, err)
	}
	var body struct {
		V Value `json:"v,omitzero"`
	}
	if got, err := json.Marshal(body, jsontext.Multiline(false)); err != nil || string(got) != "{}" {
		t.Errorf("Marshal(omitzero) = %s, %v, want {}", got, err)
	}
}
