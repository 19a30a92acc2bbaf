// Package operation is the pipeline that every request goes through and nobody gets round.
//
// A face declares its operations with Handle, one declaration each; routing, authorisation,
// audit names, metrics and the generated API reference derive from it. Pipeline.Do then runs, in
// this order and no other:
//
//	token → route → network → permission → body → existence and state
//
// so that a caller without a token learns nothing about routes, one without a right learns
// nothing about what exists, and no body is read for either. A handler returns a value or an
// error and never writes a response. Its transactions come from the Call: View shares the
// snapshot from which the request was authorised, Update decides again if authorisation has
// moved and stores the change and its audit entry in one commit. A read's answer leaves after
// its entry is durable.
package operation

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// An Op declares one operation.
type Op struct {
	Name    string // the audit name, e.g. SecretGet; unique
	Method  string
	Path    string // see Pattern
	Action  string // asked at Level; "" needs no permission beyond a valid token
	Level   Level
	Writes  Writes
	Audit   Audit
	Access  Access
	MaxBody int64 // bytes; 0 means 64 KiB
	Status  int   // of success; 0 means 200
	Summary string
}

// A Level is the kind of scope at which an operation's action is asked.
type Level string

// The levels, from the widest to the narrowest.
const (
	TenantLevel       Level = "tenant"         // the root scope "/"
	SubscriptionLevel Level = "subscription"   // of the path
	GroupLevel        Level = "resource group" // of the path
	VaultLevel        Level = "vault"          // of the host or the path
	ObjectLevel       Level = "object"         // one secret, key or certificate
	ScopeLevel        Level = "scope"          // whatever the {scope...} part of the path names
)

// Writes says which revisions an operation may raise; they are locked before it runs.
type Writes int

// The sets of rows an operation may change; zero changes nothing.
const (
	WritesVault Writes = 1 << iota
	WritesDirectory
	WritesAuthorisation
)

// Audit says how an operation is recorded.
type Audit int

// Every executed operation has an entry, except those that anybody may call and that tell
// nothing but public facts: they are counted by the metrics alone.
const (
	Entry Audit = iota
	Counted
)

// Access says who may call at all.
type Access int

// Authenticated callers bring a token or come over the local socket. Anonymous operations
// authenticate themselves, if they need to. Local ones exist only on the local socket.
const (
	Authenticated Access = iota
	Anonymous
	Local
)

// None is the body of an operation that has none.
type None struct{}

// Encoded is an answer that is what the encoder of answers makes of a T. It may hold a secret's value, and
// prints as [redacted].
type Encoded[T any] struct{ Body envelope.Value }

// Encode makes one, for answers that are given more than once.
func Encode[T any](answer T) (Encoded[T], error) {
	b, err := encodeAnswer(answer)
	return Encoded[T]{envelope.NewValue(b)}, err
}

func (e Encoded[T]) body() []byte        { return e.Body.Reveal() }
func (e Encoded[T]) shape() reflect.Type { return reflect.TypeFor[T]() }

// A Stream is an answer that is too large to be made at once. Write is called after the audit entry
// is durable; its error can be told to nobody but the log, since the answer has begun: it breaks off.
type Stream struct {
	ContentType string
	Write       func(ctx context.Context, w io.Writer) error
}

// defaultMaxBody is for bodies of settings: tags, attributes, vault properties.
const defaultMaxBody = 64 << 10

// A Table holds the operations of one face. It is complete before the first request and
// read-only from then on.
type Table struct {
	Face Face
	Ops  []*Bound // in order of declaration

	routes routes
}

// A Bound is an operation with its handler and parsed path.
type Bound struct {
	Op
	In, Out reflect.Type // of the body and of the answer, for the generated reference

	pattern pattern
	invoke  func(ctx context.Context, c *Call) (any, error)
}

// Handle declares an operation of a face. It panics on a declaration that is incomplete or that
// matches the same requests as another one: such a program must not start.
func Handle[In, Out any](t *Table, op Op, h func(context.Context, *Call, In) (Out, error)) {
	b := &Bound{Op: op, In: reflect.TypeFor[In](), Out: reflect.TypeFor[Out]()}
	if e, ok := any(*new(Out)).(interface{ shape() reflect.Type }); ok {
		b.Out = e.shape()
	}
	if b.MaxBody == 0 {
		b.MaxBody = defaultMaxBody
	}
	if b.Status == 0 {
		b.Status = http.StatusOK
	}
	b.invoke = func(ctx context.Context, c *Call) (any, error) {
		in, err := decode[In](c)
		if err != nil {
			return nil, err
		}
		if b.hasBody() {
			if err := c.enter(ctx); err != nil {
				return nil, err
			}
		}
		return h(ctx, c, in)
	}
	if err := t.add(b); err != nil {
		panic("operation " + op.Name + ": " + err.Error())
	}
}

// hasBody says whether a request of the operation brings a body, for whose sender a place among
// those at work must not be kept.
func (b *Bound) hasBody() bool { return b.In != reflect.TypeFor[None]() }

func (t *Table) add(b *Bound) error {
	for _, need := range []struct {
		missing bool
		what    string
	}{
		{b.Name == "", "a name"},
		{b.Method == "", "a method"},
		{b.Summary == "", "a summary"},
		{b.Level == "" && b.Access == Authenticated, "a level"},
		{b.Access != Authenticated && b.Action != "", "no action, since nobody is authenticated"},
	} {
		if need.missing {
			return fmt.Errorf("the declaration wants %s", need.what)
		}
	}
	var err error
	if b.pattern, err = parsePattern(b.Path); err != nil {
		return err
	}
	for _, other := range t.Ops {
		if other.Name == b.Name {
			return fmt.Errorf("the name is declared twice")
		}
		if other.Method == b.Method && other.pattern.ambiguous(b.pattern) {
			return fmt.Errorf("%s %s matches the same requests as %s %s", b.Method, b.Path, other.Name, other.Path)
		}
	}
	t.Ops = append(t.Ops, b)
	t.routes.add(b)
	return nil
}

// Find returns the operation of a name, for callers inside the process.
func (t *Table) Find(name string) (*Bound, bool) {
	for _, b := range t.Ops {
		if b.Name == name {
			return b, true
		}
	}
	return nil, false
}

// locks are the revision scopes that an operation may raise.
func (b *Bound) locks(vaultID string) []string {
	var out []string
	if b.Writes&WritesAuthorisation != 0 {
		out = append(out, db.Authorisation)
	}
	if b.Writes&WritesDirectory != 0 {
		out = append(out, db.Directory)
	}
	if b.Writes&WritesVault != 0 && vaultID != "" {
		out = append(out, db.VaultRevision(vaultID))
	}
	return out
}
