// Package apierr holds the refusals that a caller may read.
//
// An *Error is the only kind of error whose text leaves the process: it says what was wanted
// and what was found, and never carries a secret value. Every other error is ours; the
// pipeline logs it with its chain and answers 500 (503 where storage is out of reach).
package apierr

import (
	"errors"
	"fmt"
	"time"
)

// A Kind is the class of a refusal. Each face has one table that turns kinds into statuses
// and into its protocol's envelope.
type Kind int

// The kinds, in the order in which the pipeline may raise them.
const (
	BadRequestKind       Kind = iota + 1 // the request is malformed or breaks a rule
	UnauthenticatedKind                  // no token, or one that does not hold
	ForbiddenKind                        // authenticated, but not allowed, or the state forbids it
	NotFoundKind                         // the thing does not exist for this caller
	MethodNotAllowedKind                 // the path exists, the method does not
	ConflictKind                         // the state of the thing stands against it
	TooLargeKind                         // the body is over the operation's limit
	TooManyKind                          // a limit of requests is reached
	UnavailableKind                      // storage or the audit log cannot be reached; nothing was changed
	MisdirectedKind                      // the host is not one of ours
	InternalKind                         // a fault of ours; the text says only that
)

// An Error is a refusal the caller may read.
type Error struct {
	Kind    Kind
	Code    string // the protocol's word, e.g. SecretNotFound
	Message string // one sentence or Azure's own text; no secret values
	Allow   string // the Allow header of a MethodNotAllowedKind, else empty
	Action  string // the action that was missing, for the audit entry of a denial
	Scope   string // the scope at which it was missing
	Narrow  bool   // the right is held, but a condition keeps it from this object
	// RetryAfter is when to come again, of a TooManyKind; zero says nothing.
	RetryAfter time.Duration
	Audit      string // a more exact code for the audit entry, where the caller is told less
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// BadRequest refuses a request that is malformed or breaks a rule.
func BadRequest(code, format string, args ...any) *Error {
	return newError(BadRequestKind, code, format, args)
}

// Unauthenticated refuses a request whose token is missing or does not hold.
func Unauthenticated(code, format string, args ...any) *Error {
	return newError(UnauthenticatedKind, code, format, args)
}

// Forbidden refuses a caller without the right, or an object whose state forbids the call.
func Forbidden(code, format string, args ...any) *Error {
	return newError(ForbiddenKind, code, format, args)
}

// NotFound says that the thing does not exist for this caller.
func NotFound(code, format string, args ...any) *Error {
	return newError(NotFoundKind, code, format, args)
}

// Conflict says that the state of the thing stands against the request.
func Conflict(code, format string, args ...any) *Error {
	return newError(ConflictKind, code, format, args)
}

// New makes a refusal of any kind.
func New(kind Kind, code, format string, args ...any) *Error {
	return newError(kind, code, format, args)
}

// As returns the refusal in err's chain, if there is one.
func As(err error) (*Error, bool) { return errors.AsType[*Error](err) }

func newError(kind Kind, code, format string, args []any) *Error {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	return &Error{Kind: kind, Code: code, Message: message}
}
