package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine names the computer that the figures come from.
func machine() string {
	words := []string{fmt.Sprintf("%d cores", runtime.NumCPU())}
	if model := field("/proc/cpuinfo", "model name"); model != "" {
		words[0] += " (" + model + ")"
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		if total, err := parseKB(string(info), "MemTotal:"); err == nil {
			words = append(words, fmt.Sprintf("%.0f GB of memory", float64(total)/1e9))
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		words = append(words, "Linux "+strings.TrimSpace(string(release)))
	}
	return strings.Join(append(words, runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH), ", ") + "."
}

// field reads the first value of a key in a file of "key : value" lines, or "".
func field(path, key string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ticks are the processor times of the whole machine since it started.
type ticks struct{ stolen, all int64 }

// readTicks reads them; all zero where the system does not tell.
func readTicks() ticks {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ticks{}
	}
	return parseTicks(string(stat))
}

// parseTicks reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
func parseTicks(stat string) ticks {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return ticks{}
	}
	var t ticks
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return ticks{}
		}
		t.all += n
		if i == 7 {
			t.stolen = n
		}
	}
	return t
}

// stolenSince is the share of the processor time that the hypervisor gave to others.
func (t ticks) stolenSince(before ticks) float64 {
	if t.all <= before.all {
		return 0
	}
	return float64(t.stolen-before.stolen) / float64(t.all-before.all)
}
