package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reaper starts and collects all processes of a node. As pid 1 it gets the orphans of others too, so it alone may
// wait for children: os/exec would race with it.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan<- unix.WaitStatus
}

// newReaper collects until ctx ends.
func newReaper(ctx context.Context) *reaper {
	r := &reaper{waiting: map[int]chan<- unix.WaitStatus{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	go func() {
		defer signal.Stop(died)
		for {
			select {
			case <-ctx.Done():
				return
			case <-died:
				r.collect()
			}
		}
	}()
	return r
}

func (r *reaper) collect() {
	for {
		r.mu.Lock() // start holds it too: no child is collected before it is known
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		wait := r.waiting[pid]
		if pid > 0 {
			delete(r.waiting, pid)
		}
		r.mu.Unlock()
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if pid <= 0 {
			return
		}
		if wait != nil {
			wait <- ws
		}
	}
}

// start runs a program; its end comes on the channel.
func (r *reaper) start(argv []string, out *os.File) (int, <-chan unix.WaitStatus, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, fmt.Errorf("open the input of %s: %w", argv[0], err)
	}
	defer func() { _ = null.Close() }()
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: "/", Env: environment(), Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	ended := make(chan unix.WaitStatus, 1)
	r.waiting[pid] = ended
	return pid, ended, nil
}

// run runs a program to its end and returns what it said.
func (r *reaper) run(ctx context.Context, argv ...string) (string, error) {
	out, err := os.CreateTemp("/run", "run-")
	if err != nil {
		return "", fmt.Errorf("keep what %s says: %w", argv[0], err)
	}
	defer func() { _, _ = out.Close(), os.Remove(out.Name()) }()
	pid, ended, err := r.start(argv, out)
	if err != nil {
		return "", err
	}
	var ws unix.WaitStatus
	select {
	case ws = <-ended:
	case <-ctx.Done():
		_ = unix.Kill(pid, unix.SIGKILL)
		return "", fmt.Errorf("%s: %w", filepath.Base(argv[0]), ctx.Err())
	}
	said, err := os.ReadFile(out.Name())
	if err == nil && ws.ExitStatus() != 0 {
		err = fmt.Errorf("%v: exit status %d: %s", argv, ws.ExitStatus(), said)
	}
	return string(said), err
}

func environment() []string {
	path := strings.Join(searchPath(), string(filepath.ListSeparator))
	return []string{"PATH=" + path, "HOME=/root", "LANG=C.UTF-8"}
}

// component is one program that runs for as long as the node does.
type component struct {
	name string
	argv []string
	log  string // file
}

// Backoff of a component that keeps dying, and the time after which a death counts as the first one again.
const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 10 * time.Second
	healthyTime  = 20 * time.Second
)

func nextBackoff(last, lived time.Duration) time.Duration {
	if last == 0 || lived >= healthyTime {
		return firstBackoff
	}
	return min(2*last, lastBackoff)
}

// keep runs the component until ctx ends, starting it again when it dies; then it ends it within grace.
func (r *reaper) keep(ctx context.Context, c component, grace time.Duration) {
	var backoff time.Duration
	for ctx.Err() == nil {
		began := time.Now()
		why := r.once(ctx, c, grace)
		if ctx.Err() != nil {
			return
		}
		backoff = nextBackoff(backoff, time.Since(began))
		fmt.Fprintf(os.Stdout, "%s %s ended (%s); starting it again in %s\n", time.Now().Format(time.RFC3339), c.name, why, backoff)
		_ = pause(ctx, backoff)
	}
}

func (r *reaper) once(ctx context.Context, c component, grace time.Duration) string {
	out, err := openLog(c.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = out.Close() }()
	pid, ended, err := r.start(c.argv, out)
	if err != nil {
		return err.Error()
	}
	select {
	case ws := <-ended:
		return describeEnd(ws)
	case <-ctx.Done():
	}
	_ = unix.Kill(pid, unix.SIGTERM)
	select {
	case <-ended:
		return "stopped"
	case <-time.After(grace):
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	<-ended // SIGKILL cannot be refused
	return "killed"
}

func describeEnd(ws unix.WaitStatus) string {
	if ws.Signaled() {
		return "signal " + ws.Signal().String()
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}

// maxLog is the size at which a log is set aside when its program starts.
const maxLog = 32 << 20

// openLog opens a log to append to; one old log is kept beside it.
func openLog(file string) (*os.File, error) {
	if info, err := os.Stat(file); err == nil && info.Size() > maxLog {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, fmt.Errorf("keep the old log: %w", err)
		}
	}
	log, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return log, nil
}
