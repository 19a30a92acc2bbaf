package apierr

import (
	"errors"
	"fmt"
	"testing"
)

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		err  *Error
		kind Kind
	}{
		{BadRequest("C", "want %d", 7), BadRequestKind},
		{Unauthenticated("C", "want %d", 7), UnauthenticatedKind},
		{Forbidden("C", "want %d", 7), ForbiddenKind},
		{NotFound("C", "want %d", 7), NotFoundKind},
		{Conflict("C", "want %d", 7), ConflictKind},
		{New(TooLargeKind, "C", "want %d", 7), TooLargeKind},
	} {
		if tt.err.Kind != tt.kind || tt.err.Code != "C" || tt.err.Message != "want 7" || tt.err.Error() != "C: want 7" {
			t.Errorf("got %+v, want kind %d, code C, message %q", tt.err, tt.kind, "want 7")
		}
	}
}

// Azure's own texts hold per cent signs; without arguments they stay as they are.
func TestTextWithoutArguments(t *testing.T) {
	if got := BadRequest("C", "100%!d of %s").Message; got != "100%!d of %s" {
		t.Errorf("message = %q, want it as it was given", got)
	}
}

func TestAs(t *testing.T) {
	refusal := NotFound("SecretNotFound", "none")
	for _, tt := range []struct {
		err  error
		want *Error
	}{
		{nil, nil},
		{errors.New("ours"), nil},
		{refusal, refusal},
		{fmt.Errorf("read: %w", refusal), refusal},
		{errors.Join(errors.New("ours"), fmt.Errorf("read: %w", refusal)), refusal},
	} {
		if got, ok := As(tt.err); got != tt.want || ok != (tt.want != nil) {
			t.Errorf("As(%v) = %v, %v, want %v", tt.err, got, ok, tt.want)
		}
	}
}
