//go:build !linux

package main

import (
	"errors"
	"os"
	"runtime"
	"time"
)

var errLinuxOnly = errors.New("this system does not tell; Linux does")

func allowedCores() ([]int, error)                 { return nil, errLinuxOnly }
func pinSelf([]int) error                          { return errLinuxOnly }
func onCores(_, _ []int, start func() error) error { return start() }
func cpuTime(int) time.Duration                    { return 0 }
func memory(int) (now, most float64, err error)    { return 0, 0, errLinuxOnly }
func giveWay() error                               { return nil }
func syncData(f *os.File) error                    { return f.Sync() }
func inMemory(string) bool                         { return false }
func describe() []string                           { return []string{runtime.GOOS + "/" + runtime.GOARCH} }
