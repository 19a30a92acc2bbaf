package main

import (
	"fmt"
	"runtime"
)

// machine describes where it is measured, without anything that names this one machine.
func (b *bench) machine() []string {
	m := append(describe(), fmt.Sprintf("%d cores", runtime.NumCPU()), runtime.Version())
	if len(b.cores.server) > 0 {
		m = append(m, fmt.Sprintf("server and ceiling on %s with GOMAXPROCS=2, generator on %s", coresText(b.cores.server), coresText(b.cores.generator)))
	}
	return m
}

func coresText(cores []int) string {
	if len(cores) == 1 {
		return fmt.Sprintf("core %d", cores[0])
	}
	return fmt.Sprintf("cores %d to %d", cores[0], cores[len(cores)-1])
}
