package server

// maxOpenFiles is not known: Windows has no limit of handles that connections would reach.
func maxOpenFiles() (n int, known bool) { return 0, false }
