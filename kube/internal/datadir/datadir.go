// Package datadir keeps a data directory to one process at a time.
package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Run describes the process that holds the directory.
type Run struct {
	PID       int    `json:"pid"`
	Started   uint64 `json:"started"` // clock ticks since boot: tells a process from a later one with its number
	Port      int    `json:"port,omitempty"`
	Nodes     int    `json:"nodes,omitempty"`
	Simulated int    `json:"simulated,omitempty"`
	Ready     bool   `json:"ready"`
	Version   string `json:"version,omitempty"`
}

// Dir is a data directory held by this process.
type Dir struct {
	path string
	lock *os.File
	run  Run
}

// HeldError says that another process uses the directory.
type HeldError struct {
	Path string
	Run  Run
}

// Error names the process and the way out.
func (e *HeldError) Error() string {
	who := "another process"
	if e.Run.PID != 0 {
		who = "process " + strconv.Itoa(e.Run.PID)
	}
	return fmt.Sprintf("%s is in use by %s: stop it with `holdfast-kube down --data-dir %[1]s`, or choose another --data-dir", e.Path, who)
}

// Hold takes the directory, making it when needed, and returns a HeldError when it is taken. The
// kernel gives it back when the process ends, however it ends.
func Hold(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w; choose another --data-dir", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the data directory: %w; choose another --data-dir", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = lock.Close() }()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			run, _ := read(path)
			return nil, &HeldError{Path: path, Run: run}
		}
		return nil, fmt.Errorf("lock the data directory %s: %w", path, err)
	}
	return &Dir{path: path, lock: lock}, nil
}

// Write tells other commands about this run.
func (d *Dir) Write(run Run) error {
	run.PID = os.Getpid()
	run.Started, _ = startTime(run.PID)
	d.run = run
	raw, err := json.Marshal(run)
	if err != nil {
		return fmt.Errorf("describe the run: %w", err)
	}
	if _, err := d.lock.WriteAt(append(raw, bytes.Repeat([]byte(" "), max(0, 256-len(raw)))...), 0); err != nil {
		return fmt.Errorf("describe the run in %s: %w", d.lock.Name(), err)
	}
	return nil
}

// Release gives the directory back.
func (d *Dir) Release() error {
	return errors.Join(d.lock.Truncate(0), d.lock.Close())
}

// Running returns the run that holds the directory now, if one does.
func Running(path string) (Run, bool, error) {
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return Run{}, false, nil
	}
	if err != nil {
		return Run{}, false, fmt.Errorf("read the data directory: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return Run{}, false, nil // nobody holds it; closing the file gives it back
	}
	run, err := read(path)
	if err != nil {
		return Run{}, true, err
	}
	if started, err := startTime(run.PID); err != nil || started != run.Started {
		return Run{}, true, fmt.Errorf("%s is held by a process other than %d, which wrote it; find it with `fuser %s`",
			path, run.PID, lock.Name())
	}
	return run, true, nil
}

func read(path string) (Run, error) {
	raw, err := os.ReadFile(filepath.Join(path, "lock"))
	if err != nil {
		return Run{}, fmt.Errorf("read the data directory: %w", err)
	}
	var run Run
	if err := json.Unmarshal(bytes.TrimSpace(raw), &run); err != nil {
		return Run{}, fmt.Errorf("%s is held by a process that has not said which it is yet; try again", path)
	}
	return run, nil
}

// startTime is when a process began, in clock ticks since boot (proc(5), field 22 of stat).
func startTime(pid int) (uint64, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	// The command's name, in brackets, may itself hold spaces and brackets.
	_, rest, ok := strings.Cut(string(raw[max(0, bytes.LastIndexByte(raw, ')')):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("unexpected format of /proc/%d/stat", pid)
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the start of process %d: %w", pid, err)
	}
	return started, nil
}
