package server

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"strongroom/internal/operation"
)

// An observation is what an operation answered where it succeeded, over all transcripts. What
// counts is what the pipeline answered, not what a file says; requests that only prepare a
// transcript do not count.
type observation struct {
	statuses map[int]bool
	bodies   int            // how many were objects
	members  map[string]int // of these, and in how many each was
}

// seen are the observations by "face operation"; observed makes them, once for all tests.
var seen map[string]*observation

func observed(t *testing.T) map[string]*observation {
	t.Helper()
	if seen != nil {
		return seen
	}
	files, err := fs.Glob(os.DirFS("testdata/transcripts"), "*.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen = map[string]*observation{}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("testdata/transcripts", file))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(file, func(t *testing.T) {
			a := startApp(t, testConfig(t))
			tr := newTranscript(t, a)
			name := ""
			a.pipeline.Observe = func(face, operation string, _ int, _ time.Duration) { name = face + " " + operation }
			tr.answered = func(resp *operation.Response) { note(name, resp) }
			tr.play(string(text))
		})
	}
	return seen
}

// note adds an answer to the observations.
func note(name string, resp *operation.Response) {
	if resp.Status < 200 || resp.Status > 299 {
		return
	}
	o := seen[name]
	if o == nil {
		o = &observation{statuses: map[int]bool{}, members: map[string]int{}}
		seen[name] = o
	}
	o.statuses[resp.Status] = true
	var members map[string]jsontext.Value
	if json.Unmarshal(resp.Body, &members) != nil {
		return
	}
	o.bodies++
	for member := range members {
		o.members[member]++
	}
}

// elsewhere are the operations that a transcript cannot show, and what does.
var elsewhere = map[string]string{"identity ManagedIdentityTokenAppService": "runs_test.go, by the proxy of a run"}

// TestEveryOperationHasATranscript asks, of every operation that a face declares, for one line
// that succeeded with the declared status.
func TestEveryOperationHasATranscript(t *testing.T) {
	all := observed(t)
	for name, op := range declaredOperations(startApp(t, testConfig(t))) {
		if o := all[name]; (o == nil || !o.statuses[op.Status]) && elsewhere[name] == "" {
			t.Errorf("no transcript has an answer %d of %s", op.Status, name)
		}
	}
}

// unseen are optional members that no transcript need show: of every operation, or of one.
var unseen = map[string]string{
	"nextLink":                    "only where there is another page, which some transcripts ask for",
	"@odata.nextLink":             "the same",
	"graph MeGet securityEnabled": "of groups, which do not sign in",
}

// TestAnswersAreWhatTheReferenceSays holds the answers of the transcripts against the members that
// the reference names: no other, those that are not optional in every answer, and those that are
// in one at least.
func TestAnswersAreWhatTheReferenceSays(t *testing.T) {
	all := observed(t)
	for name, op := range declaredOperations(startApp(t, testConfig(t))) {
		o := all[name]
		if o == nil || op.Out.Kind() != reflect.Struct {
			continue // without a transcript, another test says so
		}
		for status := range o.statuses {
			if text := successText(op, o); !strings.Contains(text, strconv.Itoa(status)) {
				t.Errorf("%s: an answer has the status %d, the reference says %q", name, status, text)
			}
		}
		documented := map[string]bool{}
		for _, m := range wireMembers(op.Out) {
			documented[m.name] = true
			switch n := o.members[m.name]; {
			case !m.optional && n < o.bodies:
				t.Errorf("%s: %q is in %d of %d answers, and not marked as optional", name, m.name, n, o.bodies)
			case m.optional && n == 0 && unseen[m.name]+unseen[name+" "+m.name] == "":
				t.Errorf("%s: no answer has %q", name, m.name)
			}
		}
		for _, member := range slices.Sorted(maps.Keys(o.members)) {
			if !documented[member] {
				t.Errorf("%s: an answer has %q, which the reference does not name", name, member)
			}
		}
	}
}

// declaredOperations are the operations of all faces by "face operation".
func declaredOperations(a *app) map[string]*operation.Bound {
	out := map[string]*operation.Bound{}
	add := func(table *operation.Table) {
		for _, op := range table.Ops {
			out[table.Face.Name()+" "+op.Name] = op
		}
	}
	for _, table := range a.faces {
		add(table)
	}
	add(a.managed)
	return out
}

// A wireMember is a member of a JSON object as a Go type declares it.
type wireMember struct {
	name     string
	optional bool // left out where it is empty
	of       reflect.Type
}

// wireMembers are the members of a struct, those of embedded ones in their place.
func wireMembers(t reflect.Type) (members []wireMember) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			members = append(members, wireMembers(f.Type)...)
		case name != "" && name != "-":
			members = append(members, wireMember{name, strings.Contains(options, "omit"), f.Type})
		}
	}
	return members
}
