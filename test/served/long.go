package served

import "os"

// IsLong says whether the suites run in their long form, which "make torture", "make linear" and
// "make long" ask for; "make test" runs the short one.
func IsLong() bool { return os.Getenv("TEST_LONG") != "" }

// Size is how much of something a suite does: short within "make test", long in the long form.
func Size(short, long int) int {
	if IsLong() {
		return long
	}
	return short
}
