// Command postgresql gives the benchmark an empty database: it starts a PostgreSQL of its own,
// prints the connection string, and stops and removes it when its standard input ends.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"strongroom/internal/db/dbtest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "postgresql:", err)
		os.Exit(1)
	}
}

func run() error {
	// The caller ends it by closing standard input; signals of the terminal reach it as well.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	s, err := dbtest.StartServer()
	if err != nil {
		return err
	}
	defer s.Stop()
	if err := s.CreateDatabase("bench"); err != nil {
		return err
	}
	fmt.Println(s.URL("bench"))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
