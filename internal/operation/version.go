package operation

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// A Version is an api-version. Versions are ordered: dates by their day, the numbers from 7.0 on
// between 2016-10-01 and the dates from 2025 on, and a preview before its release.
type Version struct {
	Text string
	rank int
}

var (
	dated    = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})(-preview(?:\.(\d{1,2}))?)?$`)
	numbered = regexp.MustCompile(`^([7-9]|[1-9]\d)\.(\d{1,2})(-preview(?:\.(\d{1,2}))?)?$`)
)

// ParseVersion reads an api-version. "1.0" is what old clients send to /metadata/endpoints.
func ParseVersion(s string) (Version, error) {
	if s == "1.0" {
		return Version{s, rank(20150101, "", "")}, nil
	}
	if m := dated.FindStringSubmatch(s); m != nil {
		day, err := time.Parse(time.DateOnly, m[1])
		if err != nil {
			return Version{}, fmt.Errorf("api-version %q: want a real date", s)
		}
		return Version{s, rank(day.Year()*10000+int(day.Month())*100+day.Day(), m[2], m[3])}, nil
	}
	if m := numbered.FindStringSubmatch(s); m != nil {
		major, _ := strconv.Atoi(m[1]) // two digits at most, as is the minor number
		minor, _ := strconv.Atoi(m[2])
		return Version{s, rank(20180000+(major-7)*100+minor, m[3], m[4])}, nil
	}
	return Version{}, fmt.Errorf("api-version %q: want a date as in 2025-07-01 or a number as in 7.6, with or without -preview", s)
}

// rank puts the release of a version after its previews.
func rank(base int, preview, number string) int {
	if preview == "" {
		return base*100 + 99
	}
	n, _ := strconv.Atoi(number) // two digits at most; none is zero
	return base*100 + min(n, 98)
}

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
