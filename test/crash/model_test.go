//go:build unix

package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// A state is what a thing consists of, by part; without the part "life" it does not exist. Parts
// in brackets are the model's own memory and are not looked for.
type state map[string]string

const (
	life    = "life"
	active  = "active"
	deleted = "deleted" // can be recovered
)

func hidden(part string) bool { return strings.HasPrefix(part, "(") }

// clear takes all parts away that can be seen.
func (s state) clear() {
	maps.DeleteFunc(s, func(part, _ string) bool { return !hidden(part) })
}

// put makes the visible parts those of another state.
func (s state) put(other state) {
	s.clear()
	maps.Copy(s, other)
}

// visible is a copy of what can be seen.
func (s state) visible() state {
	out := maps.Clone(s)
	maps.DeleteFunc(out, func(part, _ string) bool { return hidden(part) })
	return out
}

// encode prints the visible parts, to be kept as a part.
func (s state) encode() string {
	b, err := json.Marshal(map[string]string(s.visible()), json.Deterministic(true))
	if err != nil {
		panic(err) // strings can be encoded
	}
	return string(b)
}

func decodeState(text string) (out state) {
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		panic(err) // encode has written it
	}
	return out
}

// A step is something that a client does to a thing of one kind.
type step struct {
	op string
	// can says whether the step succeeds in a state; refused is the status elsewhere, and 0 where
	// clients do not try that.
	can     func(s state) bool
	refused int
	// pick chooses the mark of a step that is about something there; nil: the mark is new. ready
	// is false where there is nothing to choose.
	pick func(x *thing) (mark string, ready bool)
	ask  func(x *thing, mark string) request
	// does is the change that a success makes; nil: none.
	does func(s state, mark string)
	// learn keeps what only the answer tells, such as ids that the server chose.
	learn func(x *thing, mark string, body []byte) error
	// once: after an unknown outcome nobody could name what was made, so the client leaves it.
	once bool
}

// A kind is a kind of things, all of whose steps are known.
type kind struct {
	name  string
	often int // weight among the kinds
	steps []*step
	// see reads all that there is of a thing, in every way there is.
	see func(c *client, x *thing) (state, error)
}

// A thing is changed by one client only, so that its history is a sequence.
type thing struct {
	kind    *kind
	name    string
	home    *home
	ids     map[string]string // what answers have told
	history []deed
	belief  state // what the client thinks is there
	sure    bool  // no outcome was unknown
}

// A deed is a step that was tried.
type deed struct {
	step *step
	mark string
	told *told
}

func newThing(k *kind, h *home, name string) *thing {
	return &thing{kind: k, name: name, home: h, ids: map[string]string{}, belief: state{}, sure: true}
}

// try does a step and keeps what became of it. The error is about an answer that makes no sense.
func (x *thing) try(c *client, st *step, mark string) (*told, error) {
	t, body := c.send(st.ask(x, mark))
	if t.attempts == 0 {
		return t, nil // the server was not there: nothing was asked
	}
	x.history = append(x.history, deed{st, mark, t})
	if !t.answered() {
		x.sure = false
		return t, nil
	}
	if !t.succeeded() {
		return t, nil
	}
	if st.does != nil {
		st.does(x.belief, mark)
	}
	if st.learn != nil {
		if err := st.learn(x, mark, body); err != nil {
			return t, fmt.Errorf("%s %s: the answer of %s: %w: %s", x.kind.name, x.name, st.op, err, body)
		}
	}
	return t, nil
}

// lives says: in one of these lives; "" is none.
func lives(in ...string) func(state) bool {
	return func(s state) bool { return slices.Contains(in, s[life]) }
}

// all says: each of these holds.
func all(conditions ...func(state) bool) func(state) bool {
	return func(s state) bool {
		return !slices.ContainsFunc(conditions, func(can func(state) bool) bool { return !can(s) })
	}
}

// has and lacks say whether a part is there.
func has(part string) func(state) bool {
	return func(s state) bool { return s[part] != "" }
}

func lacks(part string) func(state) bool {
	return func(s state) bool { return s[part] == "" }
}

// anything says that a step succeeds in every state.
func anything(state) bool { return true }
