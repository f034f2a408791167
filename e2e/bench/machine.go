package main

import (
	"fmt"
	"os"
	"runtime"
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
