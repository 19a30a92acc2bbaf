package operation

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"strongroom/internal/apierr"
)

// A Form is the body of an operation that takes an HTML form, as token requests do.
type Form url.Values

// Get returns the first value of a field, or "".
func (f Form) Get(name string) string { return url.Values(f).Get(name) }

// Tags are the tags of a request. A tag of null is refused: it would become an empty text.
type Tags map[string]string

// UnmarshalJSONFrom takes an object of texts, or null for none.
func (t *Tags) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var in map[string]*string
	if err := json.UnmarshalDecode(dec, &in); err != nil {
		return err
	}
	if in == nil {
		return nil
	}
	*t = make(Tags, len(in))
	for name, value := range in {
		if value == nil {
			return errors.New("want a text for each tag")
		}
		(*t)[name] = *value
	}
	return nil
}

// Change returns what a request says of tags: nil if nothing.
func (t *Tags) Change() *map[string]string { return (*map[string]string)(t) }

// decode reads the body into the operation's type. Bodies are JSON whatever their Content-Type
// says, since clients disagree about it; forms are forms. Unknown members are passed over, as
// the service does; duplicates, wrong types, bad UTF-8 and trailing data are refused.
func decode[In any](c *Call) (In, error) {
	var in In
	if _, none := any(in).(None); none {
		return in, nil
	}
	c.end() // a slow sender must not hold a connection to the database
	raw, err := c.readBody()
	if err != nil {
		return in, err
	}
	if form, ok := any(&in).(*Form); ok {
		values, err := url.ParseQuery(string(raw))
		if err != nil {
			return in, badBody("the body is no form: %s", "want application/x-www-form-urlencoded")
		}
		*form = Form(values)
		return in, nil
	}
	if len(raw) == 0 {
		return in, badBody("the body is empty; want %s", "a JSON object")
	}
	if err := json.Unmarshal(raw, &in, json.MatchCaseInsensitiveNames(true)); err != nil {
		return in, describe(err, reflect.TypeFor[In]())
	}
	if jsontext.Value(raw).Kind() == 'n' { // decodes as an object without members, which changes nothing but the date of change
		return in, badBody("the body is null; want %s", "a JSON object")
	}
	return in, nil
}

// readBody reads at most the operation's limit.
func (c *Call) readBody() ([]byte, error) {
	if c.request.Body == nil {
		return nil, nil
	}
	limit := c.Op.MaxBody
	raw, err := io.ReadAll(io.LimitReader(c.request.Body, limit+1))
	if err != nil {
		return nil, badBody("the body could not be read: %s", "it is cut short or came too slowly")
	}
	if int64(len(raw)) > limit {
		return nil, apierr.New(apierr.TooLargeKind, "RequestBodyTooLarge", "The request body is over the limit of %d bytes.", limit)
	}
	return raw, nil
}

// describe says what is wrong with a body of a type, by the place of the fault and never by its
// content, which may be a secret.
func describe(err error, of reflect.Type) error {
	if err == nil {
		return nil
	}
	if refusal, ok := apierr.As(err); ok {
		return refusal
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return badBody("the value at %q has a wrong type or form", pointerText(e.JSONPointer, of))
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(e, jsontext.ErrDuplicateName) {
			return badBody("the member at %q stands twice", pointerText(e.JSONPointer, of))
		}
		return badBody("the body is no valid JSON at byte %d", e.ByteOffset)
	}
	return badBody("the body is no valid JSON%s", "")
}

// pointerText is a pointer into a body of a type, in our names: the caller's own, of tags and of members
// that we do not know, are "…", since a value may have been written where a name belongs.
func pointerText(pointer jsontext.Pointer, of reflect.Type) string {
	var b strings.Builder
	for token := range pointer.Tokens() {
		for of != nil && of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		name := "…"
		switch {
		case of == nil:
		case of.Kind() == reflect.Struct:
			name, of = member(of, token)
		case of.Kind() == reflect.Slice:
			name, of = token, of.Elem() // a number
		case of.Kind() == reflect.Map:
			of = of.Elem()
		default:
			of = nil
		}
		b.WriteString("/" + name)
	}
	return b.String()
}

// member is the name of a struct's member as we write it, and its type, by a name in any letter case.
func member(of reflect.Type, token string) (string, reflect.Type) {
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && strings.EqualFold(name, token) {
			return name, field.Type
		}
	}
	return "…", nil
}

// badBody is Azure's generic refusal of a body, with what is wrong behind it.
func badBody(format string, args ...any) error {
	return apierr.BadRequest("BadParameter", "Property has invalid value\r\n%s.", fmt.Sprintf(format, args...))
}
