package operation

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Version is an api-version. Versions are ordered: dates by their day, the numbers from 7.0 on
// between 2016-10-01 and the dates from 2025 on, and a preview before its release.
type Version struct {
	Text string
	rank int
}

// ParseVersion reads an api-version. "1.0" is what old clients send to /metadata/endpoints.
func ParseVersion(s string) (Version, error) {
	if s == "1.0" {
		return Version{s, rank(20150101, 99)}, nil
	}
	text, suffix, isPreview := strings.Cut(s, "-preview")
	preview, ok := 99, true
	if isPreview {
		preview, ok = previewNumber(suffix)
	}
	base, known := 0, false
	if strings.Contains(text, "-") {
		day, err := time.Parse(time.DateOnly, text)
		base, known = day.Year()*10000+int(day.Month())*100+day.Day(), err == nil
	} else if major, minor, found := strings.Cut(text, "."); found {
		n, isNumber := digits(major)
		m, hasMinor := digits(minor)
		base, known = 20180000+(n-7)*100+m, isNumber && hasMinor && n >= 7 && major[0] != '0'
	}
	if !known || !ok {
		return Version{}, fmt.Errorf("api-version %q: want a date as in 2025-07-01 or a number as in 7.6, with or without -preview", s)
	}
	return Version{s, rank(base, preview)}, nil
}

// previewNumber reads what stands behind -preview: nothing, or a point and a number.
func previewNumber(s string) (int, bool) {
	if s == "" {
		return 0, true
	}
	number, found := strings.CutPrefix(s, ".")
	n, ok := digits(number)
	return min(n, 98), found && ok
}

// digits reads a number of one or two digits.
func digits(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	return int(n), err == nil && len(s) <= 2
}

// rank puts the release of a version after its previews, which have up to 98.
func rank(base, preview int) int { return base*100 + preview }

// AtLeast says whether v is other or comes after it.
func (v Version) AtLeast(other Version) bool { return v.rank >= other.rank }

// MustVersion is ParseVersion for versions that stand in the code.
func MustVersion(s string) Version {
	v, err := ParseVersion(s)
	if err != nil {
		panic(err)
	}
	return v
}
