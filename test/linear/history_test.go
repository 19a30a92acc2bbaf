//go:build unix

package linear

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkFor bounds the search for an order. A history that takes longer has failed: nobody knows
// whether there is one.
const checkFor = 60 * time.Second

// A record is one operation as a client saw it.
type record struct {
	input
	version   string // that it named
	answer    answer
	call, ret int64 // nanoseconds since the history began; ret is endless without an answer
	client    int
}

// An answer is what came over the wire; its status is 0 if nothing came, or nothing that says
// whether the operation took place.
type answer struct {
	status   int
	version  string
	value    string
	text     string
	versions []string // ids
}

// A history is what all clients saw.
type history struct {
	prefix string // of names and values, its own
	names  int
	began  time.Time

	mu      sync.Mutex
	records []record
	faults  []string // answers that no history allows
	values  byte     // the values and content types given out so far
	texts   byte
}

func newHistory(prefix string, names int) *history {
	return &history{prefix: prefix, names: names, began: time.Now()}
}

func (h *history) secret(name int) string { return fmt.Sprintf("%ss%d", h.prefix, name) }

func (h *history) value(n byte) string { return fmt.Sprintf("%s v%d", h.prefix, n) }

func text(n byte) string { return fmt.Sprintf("t%d", n) }

// number reads the number off a value or a content type; what is missing has 0.
func number(s, prefix string) (n byte, ok bool) {
	if s == "" {
		return 0, true
	}
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return 0, false
	}
	_, err := fmt.Sscanf(rest, "%d", &n)
	return n, err == nil
}

// fresh numbers the next value and the next content type.
func (h *history) fresh() (value, text byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values++
	h.texts++
	return h.values, h.texts
}

func (h *history) now() int64 { return int64(time.Since(h.began)) }

// add records an operation, unless it certainly did nothing.
func (h *history) add(r record) {
	if r.answer.status == 0 {
		if r.kind.isRead() {
			return
		}
		r.ret = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, r)
}

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, fmt.Sprintf(format, args...))
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.records)
}

// judge says what is wrong with the history, or "".
func (h *history) judge() string {
	if len(h.faults) > 0 {
		return h.faults[0] + "\n" + h.print(nil)
	}
	ops, wrong := h.operations()
	if wrong != "" {
		return wrong + "\n" + h.print(nil)
	}
	m := model(h.names)
	for part, in := range m.Partition(ops) {
		one := m
		one.Partition = nil
		switch porcupine.CheckOperationsTimeout(one, in, checkFor) {
		case porcupine.Illegal:
			return fmt.Sprintf("part %d of the history has no order:\n%s", part, h.print(in))
		case porcupine.Unknown:
			return fmt.Sprintf("part %d of the history: no order was found within %s:\n%s", part, checkFor, h.print(in))
		}
	}
	return ""
}

// operations turns records into what the checker takes.
func (h *history) operations() (ops []porcupine.Operation, wrong string) {
	if len(h.records) > maxPlaces {
		return nil, fmt.Sprintf("%d operations: want at most %d", len(h.records), maxPlaces)
	}
	values, wrong := h.bind()
	if wrong != "" {
		return nil, wrong
	}
	for place, r := range h.records {
		in := r.input
		in.place = place
		if r.version != "" {
			in.value = values[r.version]
		}
		out, ok := h.output(r, values)
		if !ok {
			return nil, fmt.Sprintf("client %d was answered what nobody wrote: %s, %+v", r.client, describe(in, output{}), r.answer)
		}
		op := porcupine.Operation{ClientId: r.client, Input: in, Output: out, Call: r.call, Return: r.ret}
		denied := out.status == 401 || out.status == 403
		if in.caller == owner || in.kind.isRead() || denied {
			ops = append(ops, op)
			continue
		}
		first, second := in, in
		first.phase, second.phase = permit, effect
		op.Input = first
		ops = append(ops, op)
		op.Input = second
		ops = append(ops, op)
	}
	return ops, ""
}

// output reads an answer. ok is false if it has what no client has written.
func (h *history) output(r record, values map[string]byte) (out output, ok bool) {
	out = output{status: r.answer.status, count: len(r.answer.versions)}
	if out.text, ok = number(r.answer.text, "t"); !ok {
		return out, false
	}
	if r.answer.version != "" {
		if out.value, ok = values[r.answer.version]; !ok {
			out.value = unbound
		}
	}
	var known []byte
	for _, id := range r.answer.versions {
		if v, ok := values[id]; ok {
			known = append(known, v)
		}
	}
	out.known = string(known)
	return out, true
}

// bind finds the value of each version that was answered with one. A value that has two versions
// was written twice, and a version with two values was changed.
func (h *history) bind() (values map[string]byte, wrong string) {
	values = map[string]byte{}
	versions := map[byte]string{}
	for _, r := range h.records {
		if r.answer.version == "" || r.answer.value == "" {
			continue
		}
		v, ok := number(r.answer.value, h.prefix+" v")
		if !ok {
			return nil, fmt.Sprintf("client %d read a value that nobody wrote", r.client)
		}
		id := r.answer.version
		if have, ok := values[id]; ok && have != v {
			return nil, fmt.Sprintf("version %s has the values %d and %d", id, have, v)
		}
		if have, ok := versions[v]; ok && have != id {
			return nil, fmt.Sprintf("value %d has two versions, %s and %s", v, have, id)
		}
		values[id], versions[v] = v, id
	}
	return values, ""
}

// print shows operations in the order of their beginnings; without any, the whole history.
func (h *history) print(ops []porcupine.Operation) string {
	if ops == nil {
		values, _ := h.bind()
		for _, r := range h.records {
			out, _ := h.output(r, values)
			in := r.input
			if r.version != "" {
				in.value = values[r.version]
			}
			ops = append(ops, porcupine.Operation{ClientId: r.client, Input: in, Output: out, Call: r.call, Return: r.ret})
		}
	}
	sort.Slice(ops, func(i, j int) bool { return ops[i].Call < ops[j].Call })
	var b strings.Builder
	for _, op := range ops {
		until := "…"
		if op.Return != math.MaxInt64 {
			until = fmt.Sprintf("%9.3f", float64(op.Return)/1e6)
		}
		fmt.Fprintf(&b, "%9.3f to %s ms  client %d  %s\n", float64(op.Call)/1e6, until, op.ClientId, describe(op.Input.(input), op.Output.(output)))
	}
	return b.String()
}
