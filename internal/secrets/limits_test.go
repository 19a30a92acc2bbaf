package secrets

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

func TestLimits(t *testing.T) {
	tags := func(n, name, value int) map[string]string {
		out := map[string]string{}
		for i := range n {
			out[fmt.Sprintf("%0*d", name, i)] = strings.Repeat("é", value)
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		change func(*Draft)
		ok     bool
	}{
		{"plain", func(*Draft) {}, true},
		{"25,600 bytes", func(d *Draft) { d.Value = envelope.NewValue(make([]byte, 25600)) }, true},
		{"25,601 bytes", func(d *Draft) { d.Value = envelope.NewValue(make([]byte, 25601)) }, false},
		{"12,801 letters of two bytes", func(d *Draft) { d.Value = envelope.NewValue([]byte(strings.Repeat("é", 12801))) }, false},
		{"empty value", func(d *Draft) { d.Value = envelope.NewValue([]byte{}) }, true},
		{"no value", func(d *Draft) { d.Value = envelope.Value{} }, false},
		{"content type of 255 letters", func(d *Draft) { d.ContentType = new(strings.Repeat("é", 255)) }, true},
		{"content type of 256 letters", func(d *Draft) { d.ContentType = new(strings.Repeat("é", 256)) }, false},
		{"content type with a zero", func(d *Draft) { d.ContentType = new("a\x00b") }, false},
		{"15 tags", func(d *Draft) { d.Tags = tags(15, 5, 5) }, true},
		{"16 tags", func(d *Draft) { d.Tags = tags(16, 5, 5) }, false},
		{"tag of 512 letters", func(d *Draft) { d.Tags = tags(1, 512, 512) }, true},
		{"tag name of 513 letters", func(d *Draft) { d.Tags = tags(1, 513, 1) }, false},
		{"tag value of 513 letters", func(d *Draft) { d.Tags = tags(1, 1, 513) }, false},
		{"tag with a zero", func(d *Draft) { d.Tags = map[string]string{"a\x00": "\x00"} }, true},
		{"nbf 0", func(d *Draft) { d.NotBefore = new(int64(0)) }, true},
		{"nbf -1", func(d *Draft) { d.NotBefore = new(int64(-1)) }, false},
		{"exp 9999", func(d *Draft) { d.Expires = new(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()) }, true},
		{"exp 10000", func(d *Draft) { d.Expires = new(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) }, false},
		{"exp of the largest number", func(d *Draft) { d.Expires = new(int64(1<<63 - 1)) }, false},
	} {
		d := draft("x")
		tt.change(&d)
		p := Patch{NotBefore: Date{true, d.NotBefore}, Expires: Date{true, d.Expires}, ContentType: d.ContentType, Tags: &d.Tags}
		ofValue := d.Value.Len() != 1
		for what, err := range map[string]error{"draft": d.Check(), "patch": p.Check()} {
			if want := tt.ok || what == "patch" && ofValue; (err == nil) != want {
				t.Errorf("%s: %s.Check() = %v, want ok %v", tt.name, what, err, want)
			}
			if err != nil {
				wantRefusal(t, err, apierr.BadRequestKind, "BadParameter")
			}
		}
	}
}

// What is at the limit is not only accepted but stored, on both engines.
func TestLimitsAreStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value := strings.Repeat("€", MaxValue/3) + "x"
		d := draft(value)
		d.ContentType, d.Expires = new(strings.Repeat("é", MaxContentType)), new(int64(MaxDate))
		d.Tags = map[string]string{"\x00": "\x00\u2028", "é": "", "": "empty name"}
		v, err := f.trySet(f.vault, strings.Repeat("a", 127), d)
		if err != nil {
			t.Fatal(err)
		}
		f.wantValue(v.Name, "", value)
		f.view(func(tx *db.Tx) error {
			got, err := f.Get(tx, f.vault, v.Name, "")
			if diff := cmp.Diff(v, got, sameData); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			return err
		})
	})
}

func TestCheckName(t *testing.T) {
	for _, tt := range []struct {
		name, shown string // shown: how a refusal names it; "" means a good name
	}{
		{"a", ""},
		{"0-Z", ""},
		{strings.Repeat("a", 127), ""},
		{strings.Repeat("a", 128), strings.Repeat("a", 128)},
		{strings.Repeat("a", 1000), strings.Repeat("a", 200)},
		{"a_b", "a_b"},
		{"a\r\nX", "a??X"},
		{"a\x00\x7f\xff", "a???"},
		{strings.Repeat("é", 150), strings.Repeat("é", 100)},
	} {
		err := CheckName(tt.name)
		if tt.shown == "" {
			if err != nil {
				t.Errorf("CheckName(%q) = %v, want nil", tt.name, err)
			}
			continue
		}
		wantRefusal(t, err, apierr.BadRequestKind, "BadParameter")
		if want := "BadParameter: The request URI contains an invalid name: " + tt.shown; err.Error() != want {
			t.Errorf("CheckName(%q) = %q, want %q", tt.name, err, want)
		}
	}
}
