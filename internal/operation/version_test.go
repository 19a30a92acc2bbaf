package operation

import "testing"

// The order of versions is that of the published list (Key Vault REST, api-version). Numbers that
// nobody has published yet are newer than the last one, and older than the dates that came after it.
func TestVersionsAreOrdered(t *testing.T) {
	order := []string{
		"1.0", "2015-06-01", "2016-10-01", "7.0", "7.1", "7.2", "7.3-preview", "7.3", "7.4-preview.1", "7.4", "7.5-preview.1",
		"7.5", "7.6-preview.2", "7.6", "7.10", "8.0-preview.1", "8.0", "9.9", "10.0", "2025-06-01-preview", "2025-07-01", "2026-01-01-preview", "2026-04-01", "2026-05-01-preview",
	}
	for i := 1; i < len(order); i++ {
		older, newer := MustVersion(order[i-1]), MustVersion(order[i])
		if !newer.AtLeast(older) || older.AtLeast(newer) {
			t.Errorf("%s does not come before %s", order[i-1], order[i])
		}
	}
}

func TestParseVersionRefuses(t *testing.T) {
	for _, s := range []string{"", "7", "7.", "6.0", "8", "08.0", "8.0.1", "100.0", "2025-13-01", "2025-7-1", "2025-07-01-PREVIEW", "2025-07-01 ", "latest", "7.6\n"} {
		if v, err := ParseVersion(s); err == nil {
			t.Errorf("ParseVersion(%q) = %v, want an error", s, v)
		}
	}
}
