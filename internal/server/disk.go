package server

import (
	"errors"
	"path/filepath"

	"strongroom/internal/ballast"
	"strongroom/internal/db"
)

// hasBallast says whether the file is there, of whatever size.
func (a *app) hasBallast() bool {
	path, _ := a.config.Database.Ballast()
	return path != "" && exists(path)
}

// openBallast finds or makes the ballast. On PostgreSQL the disk is not ours to care for.
func (a *app) openBallast() (err error) {
	path, size := a.config.Database.Ballast()
	if path == "" {
		return nil
	}
	a.ballast, err = ballast.Open(path, size, a.log)
	a.metrics.watchBallast(a.ballast, filepath.Dir(path))
	return err
}

// withRoom does once more what a start has to store and found the disk full for: the ballast has made
// room by then, or nothing will.
func withRoom(store func() error) error {
	err := store()
	if errors.Is(err, db.ErrNoSpace) {
		err = store()
	}
	return err
}
