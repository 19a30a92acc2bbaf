//go:build unix

package linear

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// A kind is an operation of the histories.
type kind string

// The operations. Those from set to list are of a secret, the others of an application.
const (
	set           kind = "set"
	get           kind = "get" // the latest version
	getVersion    kind = "get version"
	update        kind = "update" // the latest version
	updateVersion kind = "update version"
	remove        kind = "delete"
	getDeleted    kind = "get deleted"
	recovered     kind = "recover"
	purge         kind = "purge"
	list          kind = "list versions"

	grant   kind = "grant"
	revoke  kind = "revoke"
	enable  kind = "enable"
	disable kind = "disable"
	drop    kind = "remove credential"
	signIn  kind = "sign in"
)

// isRead says whether an operation changes nothing: without an answer it means nothing.
func (k kind) isRead() bool {
	return k == get || k == getVersion || k == getDeleted || k == list || k == signIn
}

// ofApplication says whether an operation is of an application, and not of a secret.
func (k kind) ofApplication() bool {
	return k == grant || k == revoke || k == enable || k == disable || k == drop || k == signIn
}

// owner is the caller who has every right and whom nobody can stop.
const owner = -1

// An input is what was asked.
type input struct {
	kind       kind
	name       int  // of the secret
	caller     int  // the application that asks, or owner
	value      byte // the value to set, or that of the version which is named; values are unique in a history
	text       byte // the content type of an update; 0 is none
	app        int  // of an operation of an application
	credential int  // to remove, or to sign in with

	phase phase
	place int // of the operation in its history: what a permit is kept by
}

// A phase is a part of an operation that takes place at one moment.
type phase string

// A write is permitted at one moment and takes place at a later one: "a write that began before may
// still land". All else is whole.
const (
	whole  phase = ""
	permit phase = "permit of "
	effect phase = "effect of "
)

// An output is what was answered; the zero output is of an operation without an answer.
type output struct {
	status int
	value  byte   // of the version that is answered
	text   byte   // its content type
	known  string // of list: the values of the versions whose ids are known
	count  int    // of list: the number of versions
}

// unbound is the value of a version whose set was not answered and whose value nobody has read.
const unbound = 255

// A state is one secret, and the rights of the applications. It is comparable, so that the checker
// knows a state that it has seen.
type state struct {
	versions string // in the order in which they were made: value, content type
	deleted  bool

	granted, disabled uint8 // by application
	dropped           uint8 // by application and credential

	permits [2]uint64 // of operations that are permitted and have not taken place yet, by place
}

// maxPlaces bounds the operations of a history by the permits of a state.
const maxPlaces = 128

func (s *state) permitBit(place int) (word *uint64, bit uint64) {
	return &s.permits[place/64], 1 << (place % 64)
}

func (s state) mayAct(caller int) bool {
	return caller == owner || s.granted&(1<<caller) != 0 && s.disabled&(1<<caller) == 0
}

// step says whether a state allows an answer, and what comes after it. An operation without an
// answer may take place, if it can, or not: at the end of the history nobody sees which.
func (s state) step(in input, out output) (bool, state) {
	unanswered := out.status == 0
	if in.kind.ofApplication() {
		status, next := s.administer(in)
		return unanswered || status == out.status, next
	}
	word, bit := s.permitBit(in.place)
	switch {
	case in.phase == permit && s.mayAct(in.caller):
		*word |= bit
		return true, s
	case in.phase == permit:
		return unanswered, s
	case out.status == 401:
		return in.caller != owner && s.disabled&(1<<in.caller) != 0, s
	case out.status == 403:
		return in.caller != owner && s.disabled&(1<<in.caller) == 0 && s.granted&(1<<in.caller) == 0, s
	case in.phase == effect && *word&bit == 0, in.phase == whole && !s.mayAct(in.caller):
		return unanswered, s
	}
	*word &^= bit
	answer, next := s.act(in)
	return unanswered || answer.covers(out), next
}

// covers says whether an answer is the one that was to be expected. Of a list the ids of some
// versions may be unknown, since their set was not answered.
func (want output) covers(got output) bool {
	if want.status != got.status || want.text != got.text || want.count != got.count {
		return false
	}
	if got.value != unbound && got.value != want.value {
		return false
	}
	for i := range got.known {
		if strings.IndexByte(want.known, got.known[i]) < 0 {
			return false
		}
	}
	return true
}

// administer is what an operation of an application answers and does.
func (s state) administer(in input) (status int, next state) {
	app, credential := uint8(1)<<in.app, uint8(1)<<(2*in.app+in.credential)
	switch in.kind {
	case grant:
		status = 201
		if s.granted&app != 0 {
			status = 200
		}
		s.granted |= app
	case revoke:
		status = 204
		if s.granted&app != 0 {
			status = 200
		}
		s.granted &^= app
	case enable:
		status, s.disabled = 204, s.disabled&^app
	case disable:
		status, s.disabled = 204, s.disabled|app
	case drop:
		status = 204
		if s.dropped&credential != 0 {
			status = 400
		}
		s.dropped |= credential
	case signIn:
		switch {
		case s.dropped&credential != 0:
			status = 401
		case s.disabled&app != 0:
			status = 400
		default:
			status = 200
		}
	}
	return status, s
}

// act is what a permitted operation of a secret answers and does.
func (s state) act(in input) (output, state) {
	exists, n := len(s.versions) > 0, len(s.versions)
	missing := output{status: 404}
	switch in.kind {
	case set:
		if s.deleted {
			return output{status: 409}, s
		}
		s.versions += string([]byte{in.value, 0})
		return output{status: 200, value: in.value}, s
	case list:
		return s.list(), s
	case getDeleted, recovered, purge:
		if !s.deleted {
			return missing, s
		}
	default:
		if !exists || s.deleted {
			return missing, s
		}
	}
	at := n - 2
	if in.kind == getVersion || in.kind == updateVersion {
		if at = s.find(in.value); at < 0 {
			return missing, s
		}
	}
	switch in.kind {
	case update, updateVersion:
		s.versions = s.versions[:at+1] + string([]byte{in.text}) + s.versions[at+2:]
	case remove:
		s.deleted = true
	case recovered:
		s.deleted = false
	case purge:
		s.versions, s.deleted = "", false
		return output{status: 204}, s
	}
	return output{status: 200, value: s.versions[at], text: s.versions[at+1]}, s
}

// find is where the version of a value stands, or -1.
func (s state) find(value byte) int {
	for at := 0; at < len(s.versions); at += 2 {
		if s.versions[at] == value {
			return at
		}
	}
	return -1
}

// list answers no versions for what is deleted or unknown.
func (s state) list() output {
	out := output{status: 200}
	if s.deleted {
		return out
	}
	var known []byte
	for at := 0; at < len(s.versions); at += 2 {
		known = append(known, s.versions[at])
	}
	out.known, out.count = string(known), len(known)
	return out
}

// model is the vault as one machine would be that does one thing after the other: histories are
// judged secret by secret, each beside all that happened to the applications, which is itself
// judged once more alone, with the sign-ins.
func model(names int) porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := make([][]porcupine.Operation, names+1)
			for _, op := range history {
				in := op.Input.(input)
				if !in.kind.ofApplication() {
					parts[in.name] = append(parts[in.name], op)
					continue
				}
				for part := range parts {
					counts := in.kind != drop && in.kind != signIn // for a secret
					if counts || part == names {
						parts[part] = append(parts[part], op)
					}
				}
			}
			return parts
		},
		Init: func() any { return state{} },
		Step: func(s, in, out any) (bool, any) {
			ok, next := s.(state).step(in.(input), out.(output))
			return ok, next
		},
		DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
	}
}

func describe(in input, out output) string {
	who := "owner"
	if in.caller != owner {
		who = fmt.Sprintf("app %d", in.caller)
	}
	what := fmt.Sprintf("%s: %s%s", who, in.phase, in.kind)
	switch {
	case in.kind.ofApplication():
		what += fmt.Sprintf(" of app %d, credential %d", in.app, in.credential)
	default:
		what += fmt.Sprintf(" of s%d, value %d, text %d", in.name, in.value, in.text)
	}
	if out.status == 0 {
		return what + " → no answer"
	}
	return fmt.Sprintf("%s → %d, value %d, text %d, %d versions %v", what, out.status, out.value, out.text, out.count, []byte(out.known))
}
