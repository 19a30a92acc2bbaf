// Package fair keeps one caller from slowing another, and bounds what waits.
//
// The threat is a known caller with fifty times the connections of another, by mistake or not. A
// Limiter bounds how often a key (identity, vault, address) may come, where an operator wants
// that. A Gate needs no figures of an operator: it bounds how many requests are at work, and lets
// those of the others wait in one queue per key, where they cost no processor time.
//
// # What protects the other's latency
//
// The waits that a busy caller imposes on another are not in the gate. They are the scheduler's
// queue of what can run, which knows no callers, and the commit that carries the audit entries,
// which each request waits for and which all share. Both grow with the number of requests at
// work. So a wide gate protects nobody: with 64 slots, 50 connections do not even touch it. Nor
// does a narrow one around the processor work alone, left before the commit: a commit then still
// wakes 50 requests at once, and they queue before the one. What helps is few requests at work
// between authentication and answer: as many as the machine needs to be busy. That is about the
// time of a commit divided by the processor time of a request and multiplied by the processors: 4
// with one core and a disk that syncs in 200 µs, where the other's p99 was 3.0 ms and his median
// 0.95 ms beside 50 connections, 1.0 ms and 0.5 ms without them; with 12 slots they were 5.9 ms and
// 1.5 ms. With a disk that takes 5 ms it is 60.
//
// That few would cost a caller who is alone a part of his commits' sharing, and help nobody. Hence
// two widths: Inside for one key alone and for the first slot of each key, and Shared for further
// slots while several keys are about. A key that holds nothing finds free slots, and its request
// waits for nobody in the gate.
//
// Writes cost the committer about forty times what an audit entry does, and all entries of the
// commit wait for them. So they pass a second gate beside the first, with a Shared of 2.
//
// Two waits remain that no gate takes away: for the commit that is on its way when a request
// arrives, which doubles the time of one who was alone before, where each sync takes the same
// time; and for those at work. TestOthersLatency holds a model of all this, in model time.
package fair
