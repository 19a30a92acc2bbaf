package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// findings are what a case found wrong.
type findings []string

func (f *findings) addf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// equal notes a difference. Pointers are compared by what they point to, as the SDK's members
// are pointers.
func (f *findings) equal(what string, got, want any) {
	g, w := pointee(got), pointee(want)
	if !reflect.DeepEqual(g, w) {
		f.addf("%s: got %.200v, want %.200v", what, g, w)
	}
}

func pointee(v any) any {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return nil
		}
		return r.Elem().Interface()
	}
	return v
}

// holds notes that text lacks a part.
func (f *findings) holds(what, text, part string) {
	if !strings.Contains(text, part) {
		f.addf("%s: got %q, want a part %q", what, text, part)
	}
}

// A refusal is what an error answer must say. An empty inner code means that there is none.
type refusal struct {
	status      int
	code, inner string
}

var (
	badParameter = refusal{400, "BadParameter", ""}
	notFound     = refusal{404, "SecretNotFound", ""}
	disabled     = refusal{403, "Forbidden", "SecretDisabled"}
	noRight      = refusal{403, "Forbidden", "ForbiddenByRbac"}
	isDeleted    = refusal{409, "Conflict", "ObjectIsDeletedButRecoverable"}
	conflict     = refusal{409, "Conflict", ""}
)

// refused notes that err is not this refusal; it returns the message of the answer.
func (f *findings) refused(what string, err error, want refusal) (message string) {
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) {
		f.addf("%s: got %v, want a refusal with status %d", what, err, want.status)
		return ""
	}
	body, err := io.ReadAll(refused.RawResponse.Body) // the SDK left a copy there
	if err != nil {
		f.addf("%s: read the answer: %v", what, err)
		return ""
	}
	var wire struct {
		Error struct {
			Code, Message string
			InnerError    struct{ Code string }
		}
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		f.addf("%s: the answer is not JSON: %v", what, err)
		return ""
	}
	f.equal(what, refusal{refused.StatusCode, refused.ErrorCode, wire.Error.InnerError.Code}, want)
	return wire.Error.Message
}
