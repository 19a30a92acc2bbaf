package cli

import (
	"os"
)

var forwarded = []os.Signal{os.Interrupt}

// fromTerminal is always true: the console sends an interrupt to all its processes, and no other
// one can be passed on.
func fromTerminal(os.Signal) bool { return true }
