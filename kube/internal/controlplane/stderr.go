package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// DivertStderr sends what libraries write to the standard error stream, such as the warnings of the API server's etcd
// client, whose logger nothing else reaches, to a file. os.Stderr stays the terminal, and a crash is told there too. The
// file of the last run is kept beside it.
func DivertStderr(file string) error {
	if err := os.Rename(file, file+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the last log: %w", err)
	}
	log, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { _ = log.Close() }() // the stream keeps it open
	terminal, err := unix.FcntlInt(uintptr(unix.Stderr), unix.F_DUPFD_CLOEXEC, unix.Stderr+1)
	if err != nil {
		return fmt.Errorf("keep the standard error stream: %w", err)
	}
	os.Stderr = os.NewFile(uintptr(terminal), "/dev/stderr")
	if err := unix.Dup3(int(log.Fd()), unix.Stderr, 0); err != nil {
		return fmt.Errorf("divert the standard error stream: %w", err)
	}
	if err := debug.SetCrashOutput(os.Stderr, debug.CrashOptions{}); err != nil {
		return fmt.Errorf("tell crashes to the terminal: %w", err)
	}
	return nil
}
