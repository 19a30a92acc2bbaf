package fair

// A list is a doubly linked list whose elements are parts of its values, so that a value is added
// and taken out at any place without allocation. The zero list is empty. Not for sharing.
type list[T any] struct {
	head, tail *element[T]
	len        int
}

// An element is a value's place in at most one list.
type element[T any] struct {
	prev, next *element[T]
	list       *list[T] // nil while in none
	value      T
}

// push adds an element that is in no list at the end.
func (l *list[T]) push(e *element[T]) {
	e.list, e.prev, e.next = l, l.tail, nil
	if l.tail == nil {
		l.head = e
	} else {
		l.tail.next = e
	}
	l.tail = e
	l.len++
}

// remove takes out an element of the list.
func (l *list[T]) remove(e *element[T]) {
	if e.prev == nil {
		l.head = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.list, e.prev, e.next = nil, nil, nil
	l.len--
}
