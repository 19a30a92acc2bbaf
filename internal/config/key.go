package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A key is one thing that can be set: a field of Config or of a struct in it.
type key struct {
	path string // "database.engine"; "names[0].port" inside a list
	tag  reflect.StructTag
	typ  reflect.Type
}

// environment is the variable that sets the key.
func (k key) environment() string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

const variablePrefix = "STRONGROOM_"

// each visits the keys of the struct v in the order of its fields, those of structs in it
// included. A list is one key. The values can be set if v can.
func each(v reflect.Value, prefix string, visit func(k key, v reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		k := key{path: prefix + f.Tag.Get("yaml"), tag: f.Tag, typ: f.Type}
		if f.Type.Kind() == reflect.Struct {
			each(v.Field(i), k.path+".", visit)
			continue
		}
		visit(k, v.Field(i))
	}
}

// withDefaults returns c with the defaults of the tags in its zero fields.
func (c Config) withDefaults() Config {
	each(reflect.ValueOf(&c).Elem(), "", func(k key, v reflect.Value) {
		if text := k.tag.Get("default"); text != "" && v.IsZero() {
			if d, ok := k.parse(text); ok { // a test holds that every default is allowed
				v.Set(d)
			}
		}
	})
	return c
}

var durationType = reflect.TypeFor[time.Duration]()

// parse reads the text of a key. It says false for what is not allowed.
func (k key) parse(text string) (reflect.Value, bool) {
	v := reflect.New(k.typ).Elem()
	switch {
	case k.typ == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return v, false
		}
		v.SetInt(int64(d))
	case k.typ.Kind() == reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil || strconv.Itoa(n) != text { // 010 is eight to some and ten to others
			return v, false
		}
		v.SetInt(int64(n))
	case k.typ.Kind() == reflect.Bool:
		v.SetBool(text == "true")
		return v, text == "true" || text == "false"
	default:
		v.SetString(text)
	}
	return v, k.allows(v)
}

// allows says whether the value is one that the key's tags permit.
func (k key) allows(v reflect.Value) bool {
	if least, most, ok := k.bounds(); ok {
		return least <= v.Int() && v.Int() <= most
	}
	if k.typ.Kind() != reflect.String {
		return true
	}
	text := v.String()
	if words := k.tag.Get("oneof"); words != "" {
		return strings.Contains("|"+words+"|", "|"+text+"|") && !strings.Contains(text, "|")
	}
	return text != "" && forms[k.tag.Get("form")].fits(text)
}

// bounds reads the range tag.
func (k key) bounds() (least, most int64, ok bool) {
	low, high, ok := strings.Cut(k.tag.Get("range"), "..")
	if !ok {
		return 0, 0, false
	}
	number := func(text string) int64 {
		if k.typ == durationType {
			d, _ := time.ParseDuration(text)
			return int64(d)
		}
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	return number(low), number(high), true
}

// want says in words what the key takes.
func (k key) want() string {
	span := strings.ReplaceAll(k.tag.Get("range"), "..", " to ")
	switch {
	case k.typ == durationType:
		return "a duration with its unit, " + span
	case k.typ.Kind() == reflect.Int:
		return "a whole number, " + span
	case k.typ.Kind() == reflect.Bool:
		return "true or false"
	case k.typ.Kind() == reflect.Slice:
		return "a list"
	case k.tag.Get("oneof") != "":
		return strings.ReplaceAll(k.tag.Get("oneof"), "|", " or ")
	}
	return forms[k.tag.Get("form")].want
}

// mismatch says what was wanted and what was found. Where people paste a password by mistake,
// the text found is left out.
func (k key) mismatch(text string) string {
	switch {
	case text == "":
		return "want " + k.want() + ", found nothing"
	case forms[k.tag.Get("form")].quiet:
		return "want " + k.want()
	}
	return fmt.Sprintf("want %s, found %q", k.want(), shorten(text))
}

// shorten keeps an error on one screen.
func shorten(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// A form is a rule for text. quiet keeps the text found out of errors.
type form struct {
	want  string
	fits  func(string) bool
	quiet bool
}

var forms = map[string]form{
	"word":                    {want: "up to 64 lower-case letters, digits and hyphens", fits: word.MatchString},
	"host":                    {want: "a host name in lower-case letters", fits: isHost},
	"path":                    {want: "the path of a file or folder", fits: isPath, quiet: true},
	"address":                 {want: "an address as host:port", fits: isAddress},
	"address or off":          {want: "an address as host:port, or off", fits: orOff(isAddress)},
	"loopback address or off": {want: "a loopback address as 127.0.0.1:port, or off", fits: orOff(isLoopbackAddress)},
	"size or off":             {want: "a size from 1MiB to 999GiB, such as 64MiB, or off", fits: orOff(isSize)},
	"connection string": {
		want:  "postgres://user@host/database without a password, which belongs into the file that database.url_file names",
		fits:  isBareURL,
		quiet: true,
	},
}

var (
	word = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
	size = regexp.MustCompile(`^([1-9][0-9]{0,2})(MiB|GiB)$`)
)

// isHost says whether s may be a host name; resource.Family looks closer.
func isHost(s string) bool {
	return 0 < len(s) && len(s) <= 253 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" &&
		!strings.ContainsAny(s[:1]+s[len(s)-1:], ".-")
}

// isPath refuses what is no path but was meant for the file, such as a connection string.
func isPath(s string) bool {
	return !strings.Contains(s, "://") && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
}

func orOff(fits func(string) bool) func(string) bool {
	return func(s string) bool { return s == Off || fits(s) }
}

func isSize(s string) bool { return bytesOf(s) > 0 }

// bytesOf reads a size; 0 is none.
func bytesOf(s string) int64 {
	m := size.FindStringSubmatch(s)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	return n << map[string]int{"MiB": 20, "GiB": 30}[m[2]]
}

// Off is the value of what is switched off: the address of a listener, or a size.
const Off = "off"

var hostText = regexp.MustCompile(`^[0-9a-zA-Z._-]*$`)

func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return false
	}
	_, notIP := netip.ParseAddr(host)
	return notIP == nil || hostText.MatchString(host)
}

// isLoopbackAddress says whether only this machine can reach a listener at s. Of names it
// trusts localhost alone, which RFC 6761 fixes.
func isLoopbackAddress(s string) bool {
	host, _, err := net.SplitHostPort(s)
	if err != nil || !isAddress(s) {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// portOf is the port of an address, 0 if there is none.
func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

// isBareURL says whether s is a PostgreSQL URL without a password. The other form of a
// connection string, key=value, is refused: its quoting makes passwords easy to miss.
func isBareURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return false
	}
	if _, has := u.User.Password(); has {
		return false
	}
	query, err := url.ParseQuery(u.RawQuery)
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			return false
		}
	}
	return err == nil && u.Opaque == ""
}
