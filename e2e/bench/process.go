package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// clockTicks is the unit of the times in /proc/PID/stat: USER_HZ, which is 100 on every Linux that Go runs on.
const clockTicks = 100

// process is a program that the benchmark started, and stops.
type process struct {
	name    string
	cmd     *exec.Cmd
	log     string
	started time.Time
	ended   chan struct{} // closed once it has ended
	err     error         // why, after ended
}

// startProcess runs a program with its output in a file, and calls line with each line of its standard output. env is added to
// the benchmark's own environment.
func startProcess(name, log string, line func(string), env []string, path string, args ...string) (*process, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	cmd := exec.Command(path, args...) //nolint:noctx // a program of ours; it is stopped by stop, gently
	cmd.Stderr, cmd.Env = output, append(os.Environ(), env...)
	// A group of its own keeps Ctrl-C away from it; the benchmark stops what it started in the right order. If the
	// benchmark itself is killed, the kernel tells the program to stop.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("read the output of %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, ended: make(chan struct{})}
	began := make(chan error, 1)
	go p.supervise(began, stdout, output, line)
	if err := <-began; err != nil {
		return nil, fmt.Errorf("start %s (%s): %w", name, path, err)
	}
	return p, nil
}

// supervise starts the program and follows it to its end. It keeps its thread for as long: Pdeathsig means the thread that
// started the program, not the process, and Go may end an idle thread.
func (p *process) supervise(began chan<- error, stdout io.Reader, output *os.File, line func(string)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	p.started = time.Now()
	err := p.cmd.Start()
	began <- err
	if err != nil {
		return
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		_, _ = fmt.Fprintln(output, lines.Text()) // the log is a help, not the result
		line(lines.Text())
	}
	p.err = errors.Join(p.cmd.Wait(), output.Close())
}

// stop ends the program gently, and after the limit by force.
func (p *process) stop(limit time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.ended:
		return
	case <-time.After(limit):
	}
	progressf("%s did not stop within %s: killed", p.name, limit)
	_ = p.cmd.Process.Kill() // as above
	<-p.ended
}

// failed returns an error if the program has ended though it should run.
func (p *process) failed() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended early: %w; the end of its log:\n%s", p.name, p.err, testkit.Tail(p.log))
	default:
		return nil
	}
}

// await waits until done is closed, the program ends, or the limit passes.
func (p *process) await(ctx context.Context, done <-chan struct{}, limit time.Duration) error {
	select {
	case <-done:
		return nil
	case <-p.ended:
		return p.failed()
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.name, ctx.Err())
	case <-time.After(limit):
		return fmt.Errorf("%s was not ready within %s; the end of its log:\n%s", p.name, limit, testkit.Tail(p.log))
	}
}

// cpu is the processor time that the program has used so far.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", p.name, err)
	}
	return parseCPU(string(stat))
}

// parseCPU adds user and system time of a line of /proc/PID/stat, which are its 14th and 15th fields. The second field is
// the program's name in brackets, and may hold blanks and brackets itself.
func parseCPU(stat string) (time.Duration, error) {
	rest := stat[strings.LastIndex(stat, ")")+1:]
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("no process status: %q", stat)
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / clockTicks, errors.Join(errUser, errSystem)
}

// peakMemory is the most memory the program has held at a time, in bytes, since its start or the last resetPeak.
func (p *process) peakMemory() (int64, error) {
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", p.name, err)
	}
	return parseKB(string(status), "VmHWM:")
}

// memory is what the program holds now, in bytes.
func (p *process) memory() (int64, error) {
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", p.name, err)
	}
	return parseKB(string(status), "VmRSS:")
}

// parseKB reads a field in kB of a file like /proc/PID/status, in bytes.
func parseKB(text, field string) (int64, error) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == field {
			kB, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("field %s: %w", field, err)
			}
			return kB << 10, nil
		}
	}
	return 0, fmt.Errorf("no field %s", field)
}

// resetPeak makes peakMemory start from what the program holds now.
func (p *process) resetPeak() error {
	const resetHighWater = "5"
	if err := os.WriteFile(p.proc("clear_refs"), []byte(resetHighWater), 0o600); err != nil {
		return fmt.Errorf("reset the peak memory of %s: %w", p.name, err)
	}
	return nil
}

func (p *process) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file)
}
