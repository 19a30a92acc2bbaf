package server

import (
	"path/filepath"

	"strongroom/internal/ballast"
)

// openBallast finds or makes the ballast, before the database is opened: on a full disk that may take
// the room which the ballast gives up. On PostgreSQL the disk is not ours to care for.
func (a *app) openBallast() (err error) {
	path, size := a.config.Database.Ballast()
	if path == "" {
		return nil
	}
	a.ballast, err = ballast.Open(path, size, a.log)
	a.metrics.watchBallast(a.ballast, filepath.Dir(path))
	return err
}
