package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process names one process for good: a pid alone may be given to another one.
type process struct {
	Pid   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since the machine's boot
	Boot  string `json:"boot"`
}

func describe(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	start, err := startTime(string(stat))
	if err != nil {
		return process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}, fmt.Errorf("tell this boot from others: %w", err)
	}
	return process{Pid: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// startTime reads the 22nd field of /proc/PID/stat; the second one may hold spaces and parentheses.
func startTime(stat string) (string, error) {
	after := stat[strings.LastIndexByte(stat, ')')+1:]
	fields := strings.Fields(after)
	if len(fields) < 20 || fields[0] == "Z" {
		return "", errors.New("the process has ended")
	}
	if _, err := strconv.ParseUint(fields[19], 10, 64); err != nil {
		return "", fmt.Errorf("read the start time of a process: %w", err)
	}
	return fields[19], nil
}

func readProcess(file string) (process, bool) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return process{}, false
	}
	var p process
	return p, json.Unmarshal(raw, &p) == nil && p.Pid > 1
}

func (p process) alive() bool {
	now, err := describe(p.Pid)
	return err == nil && now == p
}

// watch closes done when the process, which need not be a child, has ended.
func watch(p process, done chan<- struct{}) {
	defer close(done)
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if err != nil || !p.alive() {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1) //nolint:gosec // no process has that many files
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
