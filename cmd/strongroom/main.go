// Command strongroom is the whole of Strongroom: the server, and the commands that talk to one.
package main

import (
	"os"

	"strongroom/internal/cli"
)

// version is set by the build, see Makefile.
var version = "dev"

func main() {
	os.Exit(cli.Main(version, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
