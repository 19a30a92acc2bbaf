package arm

import (
	"strings"

	"strongroom/internal/apierr"
)

// A term is one condition of a $filter: "name eq 'value'", or "name()" and "name('value')" with
// call set.
type term struct {
	name, value string
	call        bool
}

// is compares the term's name, in which letter case does not count.
func (t term) is(name string, call bool) bool {
	return t.call == call && strings.EqualFold(t.name, name)
}

// parseFilter reads the part of OData that Resource Manager's clients send: terms joined by
// "and". A text in quotes doubles its quotes. An empty filter has no terms.
func parseFilter(text string) ([]term, error) {
	var terms []term
	rest := strings.TrimSpace(text)
	for rest != "" {
		t, after, ok := parseTerm(rest)
		if !ok {
			return nil, badFilter()
		}
		terms = append(terms, t)
		after = strings.TrimSpace(after)
		if after == "" {
			break
		}
		if rest, ok = cutWord(after, "and"); !ok || rest == "" {
			return nil, badFilter()
		}
	}
	return terms, nil
}

func badFilter() error {
	return apierr.BadRequest("InvalidFilterInQueryString", "The $filter is not valid or not supported here; want conditions as in \"principalId eq '…'\" or \"atScope()\", joined by \"and\".")
}

// parseTerm reads the term that s begins with.
func parseTerm(s string) (t term, rest string, ok bool) {
	n := strings.IndexFunc(s, func(r rune) bool { return !isNameRune(r) })
	if n < 1 {
		return term{}, "", false
	}
	t.name, rest = s[:n], strings.TrimSpace(s[n:])
	if inside, isCall := strings.CutPrefix(rest, "("); isCall {
		t.call = true
		inside = strings.TrimSpace(inside)
		if strings.HasPrefix(inside, "'") {
			if t.value, inside, ok = quoted(inside); !ok {
				return term{}, "", false
			}
		}
		rest, ok = strings.CutPrefix(strings.TrimSpace(inside), ")")
		return t, rest, ok
	}
	if rest, ok = cutWord(rest, "eq"); !ok {
		return term{}, "", false
	}
	t.value, rest, ok = quoted(rest)
	return t, rest, ok
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '/'
}

// cutWord cuts a keyword and the space behind it off s.
func cutWord(s, word string) (rest string, ok bool) {
	if len(s) <= len(word) || !strings.EqualFold(s[:len(word)], word) || s[len(word)] != ' ' {
		return s, false
	}
	return strings.TrimSpace(s[len(word):]), true
}

// quoted reads the text in single quotes that s begins with.
func quoted(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, "'") {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		return b.String(), s[i+1:], true
	}
	return "", s, false
}
