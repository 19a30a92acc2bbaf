package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A goal is what a figure must reach. The zero value demands nothing.
type goal struct {
	text        string
	least, most float64 // of which one is set
}

func atLeast(x float64) goal {
	if x == 0 {
		return goal{}
	}
	return goal{text: "≥ " + figure(x), least: x}
}

func atMost(x float64) goal { return goal{text: "≤ " + figure(x), most: x} }

func (g goal) verdict(x float64) string {
	switch {
	case g.text == "":
		return ""
	case x > 0 && x >= g.least && (g.most == 0 || x <= g.most):
		return "met"
	default:
		return "missed"
	}
}

// A line is one figure with its goal. It is judged by the median of ratio, or by value where there is
// no ratio.
type line struct {
	work, measured, against string
	ratio                   spread
	value                   float64
	target                  goal
	latency, cpu            string
}

func (l line) verdict() string {
	if l.ratio != (spread{}) {
		return l.target.verdict(l.ratio.median)
	}
	return l.target.verdict(l.value)
}

func (l line) ratioText() string {
	if l.ratio == (spread{}) {
		return ""
	}
	return fmt.Sprintf("%s (%s … %s)", figure(l.ratio.median), figure(l.ratio.least), figure(l.ratio.most))
}

// cells are in the order of columns.
func (l line) cells() []string {
	return []string{l.work, l.measured, l.against, l.ratioText(), l.target.text, l.verdict(), l.latency, l.cpu}
}

var columns = []string{"Work", "Server", "Against", "Ratio (least … most)", "Target", "", "p50 / p99 ms (against)", "CPU per request (against)"}

// short is a line for people who wait.
func (l line) short() string {
	parts := []string{l.work + ": " + l.measured}
	for _, part := range []string{l.against, l.ratioText(), l.target.text, l.verdict()} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

// A report is a run's result.
type report struct {
	machine  []string
	command  string
	syncRate float64
	lines    []line
	notes    []string
}

// setting says in one line where it was measured.
func (r *report) setting() string {
	return strings.Join(append(append([]string{}, r.machine...), r.disk()), "; ")
}

func (r *report) disk() string {
	return fmt.Sprintf("the disk makes %s appended pages of 4 KiB durable per second, one after the other", count(r.syncRate))
}

// text is the report for a terminal.
func (r *report) text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(columns, "\t"))
	for _, l := range r.lines {
		fmt.Fprintln(w, strings.Join(l.cells(), "\t"))
	}
	w.Flush()
	for _, n := range r.notes {
		fmt.Fprintln(&b, "note:", n)
	}
	return b.String()
}

// The generated part of the document stands between these; what people wrote around it stays.
const (
	documentBegin = "<!-- measured: written by make bench, do not edit -->"
	documentEnd   = "<!-- end of measured -->"
)

// newDocument is what a document begins with that is not there yet.
const newDocument = `# Performance

How near Strongroom comes to the limit of a machine, and how to measure it on yours.

The limit, the *ceiling*, is a bare Go ` + "`net/http`" + ` handler behind TLS 1.3 that answers with the same bytes and
headers. Both run on the same cores with ` + "`GOMAXPROCS=2`" + `, the load generator on others, in rounds that alternate;
a ratio is that of one round, and the table has the median and the extremes of all rounds. Every answer is checked, and
the audit entry of each is durable before it leaves. For writes the limit is how often the disk makes a page durable.

` + documentBegin + "\n" + documentEnd + "\n"

// write puts the report into a document.
func (r *report) write(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte(newDocument), nil
	}
	if err != nil {
		return err
	}
	changed, err := r.into(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

func (r *report) into(text string) (string, error) {
	before, rest, ok := strings.Cut(text, documentBegin)
	_, after, ok2 := strings.Cut(rest, documentEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("want the lines %q and %q, between which the result goes", documentBegin, documentEnd)
	}
	return before + documentBegin + "\n\n" + r.markdown() + "\n" + documentEnd + after, nil
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured by `%s` on this machine:\n\n", r.command)
	for _, m := range append(append([]string{}, r.machine...), r.disk()) {
		fmt.Fprintln(&b, "-", m)
	}
	fmt.Fprintf(&b, "\n%s\n%s\n", tableRow(columns), tableRow(strings.Split(strings.Repeat("---,", len(columns)-1)+"---", ",")))
	for _, l := range r.lines {
		fmt.Fprintln(&b, tableRow(l.cells()))
	}
	for i, n := range r.notes {
		if i == 0 {
			fmt.Fprintln(&b)
		}
		fmt.Fprintln(&b, "- Note:", n)
	}
	return b.String()
}

func tableRow(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" }

// figure has two decimals, or one from ten on.
func figure(x float64) string {
	if math.Abs(x) >= 10 {
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// count groups a whole number by thousands.
func count(x float64) string {
	digits := strconv.FormatInt(int64(math.Round(math.Abs(x))), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func millis(d time.Duration) string { return strconv.FormatFloat(float64(d)/1e6, 'f', 2, 64) }
func micros(d time.Duration) string { return strconv.FormatFloat(float64(d)/1e3, 'f', 0, 64) + " µs" }
