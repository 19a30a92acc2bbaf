// Command bench measures how near Strongroom comes to the limit of the machine that it runs on.
//
// The limit, called the ceiling, is a bare net/http handler behind TLS 1.3 that answers with the very
// bytes and headers that the server gave to the same request. It is measured in the same run, on the
// same cores, with the same settings, in rounds that alternate with the server's: what disturbs the
// machine disturbs both, and the ratio of a round means something where two figures of two days do
// not. For writes the limit is the disk: how often it makes a page durable.
//
// The threat that it answers is the flattering benchmark. So the load is closed loop over real TLS
// connections, every answer is checked, one wrong answer fails the row, the server has its audit log
// and its syncs as in production, and the report says where the generator itself was the limit.
//
//	bench (this process: generator)  ── cores of the generator
//	 ├─ bench rival …                   cores of the generator, where one caller disturbs another
//	 ├─ strongroom dev …             ─┐
//	 └─ bench ceiling …              ─┴ cores of the server, GOMAXPROCS=2, one at work at a time
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	binary   string // the server to measure; "" builds it
	dir      string // keeps filled deployments between runs; "" is a temporary folder
	run      *regexp.Regexp
	rounds   int
	duration time.Duration // of one measurement
	many     int           // secrets in the large deployment
	entries  int           // of the long audit log
	short    bool
	write    string // the document to write
	profile  string // the folder for profiles; "" measures
	settings list   // of the server, key=value
	list     bool
}

// manyEntries is what the long audit log has by default.
const manyEntries = 1_000_000

// A list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	if len(os.Args) > 1 && os.Args[1] == ceilingCommand {
		exit(serveCeiling(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == rivalCommand {
		exit(rival(os.Args[2:]))
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if o.list {
		for _, r := range rows(o.many, o.entries) {
			fmt.Println(r.work)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.binary, "binary", "", "the built server to measure (default: builds it)")
	f.StringVar(&o.dir, "dir", "", "a folder on the disk to measure; filled deployments stay there for the next run (default: a temporary folder)")
	pattern := f.String("run", "", "measure the rows that this regular expression matches, such as \"GET|PUT\"")
	f.IntVar(&o.rounds, "rounds", 15, "alternating rounds of each row")
	f.DurationVar(&o.duration, "duration", 2*time.Second, "how long each side of a round is measured")
	f.IntVar(&o.many, "secrets", 100_000, "secrets in the large deployment")
	f.IntVar(&o.entries, "entries", manyEntries, "entries of the long audit log")
	f.BoolVar(&o.short, "short", false, "a smoke test: 2 rounds of 100ms, 1,000 secrets and entries; its figures mean little")
	f.StringVar(&o.write, "write", "", "write the result into this document, such as docs/performance.md")
	f.StringVar(&o.profile, "profile", "", "instead of measuring, take profiles of the server under the first row of -run into this folder")
	f.Var(&o.settings, "set", "a setting of the server as key=value; may be repeated")
	f.BoolVar(&o.list, "list", false, "print the rows and end")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.run, err = regexp.Compile(*pattern); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	if o.short {
		o.shorten(f)
	}
	if o.rounds < 1 || o.duration <= 0 || o.many < writeNames || o.entries < 1 {
		return o, fmt.Errorf("want at least one round, some duration, %d secrets, and an audit entry", writeNames)
	}
	if !slices.ContainsFunc(rows(o.many, o.entries), func(r row) bool { return o.run.MatchString(r.work) }) {
		return o, fmt.Errorf("no row matches -run %q; -list prints them", o.run)
	}
	return o, nil
}

// shorten sets what -short stands for, except what was given beside it.
func (o *options) shorten(f *flag.FlagSet) {
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["rounds"] {
		o.rounds = 2
	}
	if !given["duration"] {
		o.duration = 100 * time.Millisecond
	}
	if !given["secrets"] {
		o.many = 1000
	}
	if !given["entries"] {
		o.entries = 1000
	}
}

// command is the command line that gives the same measurement, without the places of this machine.
func (o *options) command() string {
	text := "make bench"
	var args []string
	if o.short {
		args = append(args, "-short")
	} else if o.rounds != 15 || o.duration != 2*time.Second || o.many != 100_000 {
		args = append(args, fmt.Sprintf("-rounds %d -duration %s -secrets %d", o.rounds, o.duration, o.many))
	}
	if !o.short && o.entries != manyEntries {
		args = append(args, fmt.Sprintf("-entries %d", o.entries))
	}
	if o.run.String() != "" {
		args = append(args, fmt.Sprintf("-run %q", o.run))
	}
	for _, s := range o.settings {
		args = append(args, "-set "+s)
	}
	if len(args) > 0 {
		text += " BENCH='" + strings.Join(args, " ") + "'"
	}
	return text
}

// run measures what was asked for and reports it.
func run(ctx context.Context, o options) error {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	debug.SetGCPercent(400) // the generator's own garbage should cost the measurement little
	if o.profile != "" {
		return b.takeProfiles(ctx)
	}
	report := report{machine: b.machine(), command: o.command()}
	if report.syncRate, err = b.syncRate(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "bench: %s\n", report.setting())
	failed := b.measureRows(ctx, &report)
	fmt.Print(report.text())
	if o.write != "" && len(failed) == 0 {
		if err := report.write(o.write); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func (b *bench) measureRows(ctx context.Context, report *report) (failed []error) {
	for _, r := range rows(b.many, b.entries) {
		if !b.run.MatchString(r.work) {
			continue
		}
		lines, err := r.measure(ctx, b, r)
		b.progress("")
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r.work, err))
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", r.work, err)
		}
		for _, l := range lines {
			fmt.Fprintf(os.Stderr, "bench: %s\n", l.short())
		}
		report.lines = append(report.lines, lines...)
		if ctx.Err() != nil {
			break
		}
	}
	report.notes = append(report.notes, b.notes...)
	return failed
}
