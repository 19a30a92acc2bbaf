package vaults

import "testing"

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8", "10.0.0.1", "10.0.0.0/33", "::1/128", "::ffff:10.0.0.1", "010.0.0.1", "1.2.3.4%eth0", "/", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseRange(text)
		if err != nil {
			return
		}
		again, err := parseRange(p.String())
		if err != nil || again != p || p.Addr().Zone() != "" {
			t.Errorf("parseRange(%q) = %v, which reads as %v, %v", text, p, again, err)
		}
	})
}
