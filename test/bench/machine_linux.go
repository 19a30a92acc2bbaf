package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// allowedCores lists the cores that this process may use.
func allowedCores() (allowed []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	for core := range len(set) * strconv.IntSize {
		if set.IsSet(core) {
			allowed = append(allowed, core)
		}
	}
	return allowed, nil
}

// pinSelf moves every thread of this process to the cores. New threads inherit it; the second pass
// finds those that an unmoved thread started meanwhile.
func pinSelf(cores []int) error {
	for range 2 {
		if err := eachThread(func(id int) error { return pinThread(id, cores) }); err != nil {
			return fmt.Errorf("move a thread to cores %v: %w", cores, err)
		}
	}
	return nil
}

// eachThread does something to every thread of this process that has not ended meanwhile.
func eachThread(do func(id int) error) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := do(id); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func pinThread(id int, cores []int) error {
	var set unix.CPUSet
	for _, core := range cores {
		set.Set(core)
	}
	return unix.SchedSetaffinity(id, &set)
}

// onCores runs start on a thread of the given cores, so that the process that it starts inherits
// them, and moves the thread back to ours. Without cores it just runs it.
func onCores(cores, ours []int, start func() error) error {
	if len(cores) == 0 {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pinThread(0, cores); err != nil {
		return fmt.Errorf("move to cores %v: %w", cores, err)
	}
	return errors.Join(start(), pinThread(0, ours))
}

// cpuTime is what a process has used on all its threads, ended ones included. The clock of another
// process is named by its id (clock_getcpuclockid(3)); it is finer than /proc/<pid>/stat and counts
// the same.
func cpuTime(pid int) time.Duration {
	const schedulerClock = 2
	var t unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|schedulerClock), &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// giveWay lets other processes on the same core go first, at once: all threads of this one run only when
// nobody else wants to, and those that come later inherit it.
func giveWay() error {
	const idle = 5 // SCHED_IDLE, see sched(7)
	return eachThread(func(id int) error {
		return unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: idle}, 0)
	})
}

// memory is the resident memory of a process now, and at its highest, in MiB.
func memory(pid int) (now, most float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	now, err1 := statusMiB(text, "VmRSS")
	most, err2 := statusMiB(text, "VmHWM")
	return now, most, errors.Join(err1, err2)
}

// statusMiB reads a field such as "VmRSS:	  26324 kB".
func statusMiB(status []byte, field string) (float64, error) {
	for line := range bytes.Lines(status) {
		name, value, _ := strings.Cut(string(line), ":")
		if name != field {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		return kib / 1024, err
	}
	return 0, fmt.Errorf("the status of the process has no %s", field)
}

// syncData makes a file's data durable.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// inMemory says whether a folder's file system has no disk under it.
func inMemory(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.TMPFS_MAGIC
}

// describe names processor and system.
func describe() []string {
	processor := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(text) {
			name, value, _ := strings.Cut(string(line), ":")
			if strings.TrimSpace(name) == "model name" {
				processor = strings.TrimSpace(value)
				break
			}
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return []string{processor}
	}
	return []string{processor, "Linux " + unix.ByteSliceToString(name.Release[:])}
}
