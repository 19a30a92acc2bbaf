package main

import (
	"context"
	"fmt"
	"time"
)

// Bounds of memory, in MiB.
const (
	idleMost = 30
	loadMost = 120
)

// measureMemory measures what the process holds after its start, and the most it ever held under
// reads of every secret, lists, and writes among reads.
func measureMemory(ctx context.Context, b *bench, r row) ([]line, error) {
	server, stop, err := b.serve(ctx, r.at, allReads)
	if err != nil {
		return nil, err
	}
	defer stop()
	pause(ctx, min(2*b.duration, 3*time.Second)) // what the start began has ended by then
	idle, _, err := memory(server.pid)
	if err != nil {
		b.note(fmt.Sprintf("%s: not measured: %v", r.work, err))
		return nil, nil
	}
	reads := server.load
	listed, err := pages(server, r.at.secrets)
	if err != nil {
		return nil, err
	}
	// What is written is a name that is there already, so that the deployment stays as large as it is.
	mix, err := mixed(server, r.at.secrets)
	if err != nil {
		return nil, err
	}
	for _, l := range []load{reads, listed, mix, reads} {
		b.progress("%s: under load", r.work)
		server.load = l
		if _, err := server.measure(ctx, 64, 2*b.duration); err != nil {
			return nil, err
		}
	}
	_, most, err := memory(server.pid)
	return []line{
		{work: r.work + ": idle", measured: mebibytes(idle), value: idle, target: goal{text: "≤ 30 MiB", most: idleMost}},
		{work: r.work + ": the most under load", measured: mebibytes(most), value: most, target: goal{text: "≤ 120 MiB", most: loadMost}},
	}, err
}

func mebibytes(n float64) string { return fmt.Sprintf("%.1f MiB", n) }
