package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		goal goal
		x    float64
		want string
	}{
		{goal{}, 1, ""},
		{atLeast(0), 1, ""},
		{atLeast(0.55), 0.55, "met"},
		{atLeast(0.55), 0.54, "missed"},
		{atMost(1.7), 1.7, "met"},
		{atMost(1.7), 1.71, "missed"},
		{atMost(1.7), 0, "missed"}, // nothing was measured
	} {
		if got := tt.goal.verdict(tt.x); got != tt.want {
			t.Errorf("%+v of %v: %q, want %q", tt.goal, tt.x, got, tt.want)
		}
	}
}

func TestFigures(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{count(0), "0"},
		{count(999.6), "1,000"},
		{count(100000), "100,000"},
		{count(12345678), "12,345,678"},
		{figure(0.554), "0.55"},
		{figure(12.34), "12.3"},
		{millis(1234567 * time.Nanosecond), "1.23"},
		{micros(45600 * time.Nanosecond), "46 µs"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

// TestWriteKeepsProse writes twice: what people wrote around the table stays.
func TestWriteKeepsProse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	r := report{machine: []string{"a processor"}, command: "make bench", syncRate: 1000, notes: []string{"a note"}, lines: []line{
		{work: "first", measured: "1/s", against: "ceiling 2/s", ratio: spread{0.5, 0.4, 0.6}, target: atLeast(0.45)},
	}}
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, "The limit is the disk.\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	r.lines[0].work = "second"
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Performance", "`make bench`", "- a processor", "1,000 appended pages", "| second | 1/s | ceiling 2/s | 0.50 (0.40 … 0.60) | ≥ 0.45 | met |", "- Note: a note", "The limit is the disk."} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "first") {
		t.Errorf("the document still has the first table:\n%s", text)
	}
	if err := os.WriteFile(file, []byte("# Performance\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.write(file); err == nil {
		t.Error("a document without the marks was overwritten")
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ args, err, command string }{
		{args: "", command: "make bench"},
		{args: "-short", command: "make bench BENCH='-short'"},
		{args: "-run PUT -set log.level=info -binary x -dir y", command: `make bench BENCH='-run "PUT" -set log.level=info'`},
		{args: "-rounds 3", command: "make bench BENCH='-rounds 3 -duration 2s -secrets 100000'"},
		{args: "-rounds 0", err: "at least one round"},
		{args: "-secrets 5", err: "secrets"},
		{args: "-run (", err: "-run"},
		{args: "-run nothing", err: "no row matches"},
		{args: "extra", err: "unexpected argument"},
	} {
		o, err := parse(strings.Fields(tt.args))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parse(%q): %v, want an error with %q", tt.args, err, tt.err)
			}
			continue
		}
		if err != nil || o.command() != tt.command {
			t.Errorf("parse(%q): command %q, %v, want %q", tt.args, o.command(), err, tt.command)
		}
	}
	if o, err := parse([]string{"-short", "-rounds", "7"}); err != nil || o.rounds != 7 || o.duration != 100*time.Millisecond {
		t.Errorf("-short with -rounds 7: %d rounds of %v, %v", o.rounds, o.duration, err)
	}
}

// TestRows: names are unique, so that -run can choose each of them.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows(100_000, 1_000_000) {
		if seen[r.work] {
			t.Errorf("two rows are called %q", r.work)
		}
		seen[r.work] = true
	}
}

func TestSplitCores(t *testing.T) {
	for _, tt := range []struct {
		allowed           []int
		server, generator int // how many each gets
	}{
		{[]int{0, 1}, 1, 1},
		{[]int{2, 5, 7}, 1, 2},
		{[]int{0, 1, 2, 3, 4, 5, 6, 7}, 2, 6},
	} {
		c, err := splitCores(tt.allowed)
		if err != nil || len(c.server) != tt.server || len(c.generator) != tt.generator {
			t.Errorf("splitCores(%v) = %+v, %v, want %d and %d", tt.allowed, c, err, tt.server, tt.generator)
		}
	}
	if _, err := splitCores([]int{0}); err == nil {
		t.Error("one core was split")
	}
}
