package operation

import (
	"errors"
	"net/url"
	"strings"
)

// A pattern is the parsed form of Op.Path: segments separated by "/".
//
//	/secrets/{secret-name}/versions        a literal matches in any letter case, a parameter one segment
//	/secrets/{secret-name}/{version?}      an optional parameter may be missing, at the end only
//	/{scope...}/providers/…                any number of segments, also none, at the start only
type pattern struct {
	wild     string // the name of the leading {name...}, or ""
	segments []segment
}

type segment struct {
	literal  string // in lower case; "" for a parameter
	param    string
	optional bool
}

func parsePattern(path string) (pattern, error) {
	if !strings.HasPrefix(path, "/") {
		return pattern{}, errors.New("the path wants a leading slash")
	}
	var p pattern
	for i, text := range splitPath(path) {
		name, isParam := strings.CutPrefix(text, "{")
		name, closed := strings.CutSuffix(name, "}")
		switch {
		case isParam != closed:
			return pattern{}, errors.New("the path has an unclosed parameter")
		case !isParam:
			p.segments = append(p.segments, segment{literal: strings.ToLower(text)})
		case strings.HasSuffix(name, "..."):
			if i != 0 {
				return pattern{}, errors.New("{name...} stands only at the start")
			}
			p.wild = strings.TrimSuffix(name, "...")
		default:
			s := segment{param: strings.TrimSuffix(name, "?"), optional: strings.HasSuffix(name, "?")}
			p.segments = append(p.segments, s)
		}
		if n := len(p.segments); n > 1 && p.segments[n-2].optional {
			return pattern{}, errors.New("{name?} stands only at the end")
		}
	}
	return p, nil
}

func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// canonical turns an escaped path into segments. Clients send "//", trailing slashes and a
// version of "%2F": empty segments, and those that are a slash once decoded, are dropped, as the
// service does. There is never a redirect, which would lose the body or the token.
func canonical(escaped string) ([]string, error) {
	var out []string
	for _, raw := range splitPath(escaped) {
		s, err := url.PathUnescape(raw)
		if err != nil {
			return nil, err
		}
		if strings.Trim(s, "/") != "" {
			out = append(out, s)
		}
	}
	return out, nil
}

// match compares segments with the pattern.
func (p pattern) match(segments []string) bool {
	if p.wild != "" {
		n := len(segments) - len(p.segments)
		if n < 0 {
			return false
		}
		segments = segments[n:]
	}
	for i, s := range p.segments {
		if i >= len(segments) {
			return s.optional
		}
		if s.literal != "" && !strings.EqualFold(s.literal, segments[i]) {
			return false
		}
	}
	return len(segments) <= len(p.segments)
}

// params are the parameters in segments that match.
func (p pattern) params(segments []string) map[string]string {
	out := map[string]string{}
	if p.wild != "" {
		n := len(segments) - len(p.segments)
		out[p.wild] = "/" + strings.Join(segments[:n], "/")
		segments = segments[n:]
	}
	for i, s := range p.segments[:min(len(p.segments), len(segments))] {
		if s.literal == "" {
			out[s.param] = segments[i]
		}
	}
	return out
}

// ambiguous says whether neither pattern is to be preferred for a path that both match.
func (p pattern) ambiguous(q pattern) bool {
	if (p.wild == "") != (q.wild == "") {
		return false // one with a leading {name...} comes after all others
	}
	longest := max(len(p.segments), len(q.segments))
	for i := range longest {
		a, inP := p.at(i)
		b, inQ := q.at(i)
		switch {
		case !inP || !inQ:
			// One is longer: they meet only if the rest of it is optional.
			return inP && a.optional || inQ && b.optional
		case a.literal != b.literal:
			return false // disjoint, or the literal is preferred to the parameter
		}
	}
	return true
}

func (p pattern) at(i int) (segment, bool) {
	if i >= len(p.segments) {
		return segment{}, false
	}
	return p.segments[i], true
}

// before says whether p is to be tried before q: the first difference decides, a literal comes
// before a parameter, and what has a leading {name...} comes last.
func (p pattern) before(q pattern) bool {
	if (p.wild == "") != (q.wild == "") {
		return p.wild == ""
	}
	for i := range min(len(p.segments), len(q.segments)) {
		if a, b := p.segments[i].literal, q.segments[i].literal; (a == "") != (b == "") {
			return a != ""
		}
	}
	return len(p.segments) > len(q.segments)
}

// routes finds operations by the first segment of the path.
type routes struct {
	byFirst map[string][]*Bound // literal first segment, in lower case
	others  []*Bound            // a parameter or {name...} first, or nothing
}

func (r *routes) add(b *Bound) {
	if r.byFirst == nil {
		r.byFirst = map[string][]*Bound{}
	}
	if b.pattern.wild == "" && len(b.pattern.segments) > 0 && b.pattern.segments[0].literal != "" {
		key := b.pattern.segments[0].literal
		r.byFirst[key] = insert(r.byFirst[key], b)
		return
	}
	r.others = insert(r.others, b)
}

func insert(list []*Bound, b *Bound) []*Bound {
	at := 0
	for at < len(list) && !b.pattern.before(list[at].pattern) {
		at++
	}
	list = append(list, nil)
	copy(list[at+1:], list[at:])
	list[at] = b
	return list
}

// find returns the operation for a method and path, or, when only other methods are declared
// for the path, those.
func (r *routes) find(method string, segments []string) (b *Bound, params map[string]string, allow []string) {
	lists := [][]*Bound{r.others}
	if len(segments) > 0 {
		lists = [][]*Bound{r.byFirst[strings.ToLower(segments[0])], r.others}
	}
	for _, list := range lists {
		for _, b := range list {
			if !b.pattern.match(segments) {
				continue
			}
			if b.Method == method {
				return b, b.pattern.params(segments), nil
			}
			allow = append(allow, b.Method)
		}
	}
	return nil, nil, allow
}
