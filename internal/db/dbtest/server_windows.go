package dbtest

import "errors"

// A Server is never made on Windows: tests with PostgreSQL run on Unix. The type is here so that
// the tests are compiled and vetted for every target.
type Server struct{}

// StartServer says that there is none.
func StartServer() (*Server, error) {
	return nil, errors.New("tests start PostgreSQL on Unix only")
}

// Start does nothing.
func (*Server) Start() error { return nil }

// Kill does nothing.
func (*Server) Kill() {}

// Stop does nothing.
func (*Server) Stop() {}

// PID is always zero.
func (*Server) PID() int { return 0 }

// CreateDatabase does nothing.
func (*Server) CreateDatabase(string) error { return nil }

// URL is always empty.
func (*Server) URL(string) string { return "" }

// Dir is always empty.
func (*Server) Dir() string { return "" }
