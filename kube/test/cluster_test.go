// Package test holds the built program to what its users see.
package test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is generous: these tests say what happens, not how fast.
const patience = 3 * time.Minute

// program is the path of the built binary.
func program(t *testing.T) string {
	t.Helper()
	path := os.Getenv("HOLDFAST_KUBE")
	if path == "" {
		path = filepath.Join("..", "..", "bin", "holdfast-kube")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not built: run `make kube`, or set HOLDFAST_KUBE", path)
	}
	return path
}

// cluster is a running `holdfast-kube up`.
type cluster struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	lines  chan string   // of its output, the first ones where nobody reads them
	stderr *bytes.Buffer // complete once done
	done   chan struct{}
	*kubernetes.Clientset
}

// up starts a cluster on dir and returns once it says that it is ready.
func up(t *testing.T, dir string, args ...string) *cluster {
	t.Helper()
	c := start(t, dir, args...)
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	if c.Clientset, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, dir string, args ...string) *cluster {
	t.Helper()
	args = append([]string{"up", "--data-dir", dir, "--port", "0"}, args...)
	cmd := exec.Command(program(t), args...) //nolint:noctx // stop and kill end it, each in its way
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: dir, cmd: cmd, lines: make(chan string, 100), stderr: &bytes.Buffer{}, done: make(chan struct{})}
	cmd.Stderr = c.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() { // ends with the program
		defer close(c.done)
		var once sync.Once
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case c.lines <- lines.Text():
			default: // nobody reads them
			}
			if strings.TrimSpace(lines.Text()) == "ready: "+filepath.Join(dir, "kubeconfig") {
				once.Do(func() { close(ready) })
			}
		}
		_ = cmd.Wait() // how it ended is for the test to judge
	}()
	t.Cleanup(c.stop)
	select {
	case <-ready:
	case <-c.done:
		t.Fatalf("up %v ended: %s", args, c.stderr)
	case <-time.After(patience):
		t.Fatalf("up %v is not ready after %s: %s", args, patience, c.stderr)
	}
	return c
}

// stop ends the cluster in order.
func (c *cluster) stop() { c.signal(syscall.SIGTERM) }

// kill ends it as a crash would.
func (c *cluster) kill() { c.signal(syscall.SIGKILL) }

func (c *cluster) signal(s syscall.Signal) {
	select {
	case <-c.done:
		return
	default:
	}
	_ = c.cmd.Process.Signal(s)
	select {
	case <-c.done:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		c.t.Errorf("did not end after %s", s)
	}
}

// awaitLine returns once the program has printed a line with that text.
func (c *cluster) awaitLine(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line := <-c.lines:
			if strings.Contains(line, text) {
				return
			}
		case <-deadline:
			t.Fatalf("no line says %q", text)
		}
	}
}

// run runs a command of the program to its end.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program(t), args...).CombinedOutput()
	return string(out), err
}

// eventually returns once check is satisfied, and fails the test with its last complaint if it never is.
func eventually(t *testing.T, what string, check func(ctx context.Context) (complaint string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		last := check(ctx)
		if last == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %s", what, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
