// Package testkit gives tests a real API server, and everything around it that such a server alone cannot have: builders,
// a node that is only pretended, faults at chosen writes, a cache that lags, and a watcher that never misses an event.
package testkit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// startLimit is how long an API server may take until it is ready. It needs about three seconds on a quiet machine.
const startLimit = 90 * time.Second

// guard runs the API server below a shell that holds the test process's pipe: when the test process ends, by whatever
// means, the pipe closes, the server is killed and its directory removed. A clean-up inside the test process could do
// neither after a panic, a timeout of go test, or a kill.
const guard = `"$0" up --only apiserver --port 0 --data-dir "$1/data" 2>"$1/stderr" </dev/null &
kube=$!
exec 1>&-
cat >/dev/null
kill -9 $kube
wait $kube
rm -rf "$1"
`

// sharedServer is the one API server of a test binary: starting it costs seconds and hundreds of megabytes, so the tests
// of a package share it and keep apart by namespace.
var sharedServer = sync.OnceValues(startServer) //nolint:gochecknoglobals // set once, never changed; see above

// server is a running API server.
type server struct {
	config *rest.Config
	// pipe is what the guard waits on. It is kept here because an unreachable one would be closed by the garbage collector.
	pipe io.Closer
}

// startServer starts the API server as a child process.
func startServer() (*server, error) {
	binary, err := kubeBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err != nil {
		return nil, fmt.Errorf("make the API server's directory: %w", err)
	}
	cmd := exec.Command("/bin/sh", "-c", guard, binary, dir) //nolint:noctx // it lives as long as this process, by its pipe
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}    // Ctrl-C reaches this process only; the pipe does the rest
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("hold the API server's pipe: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("read the API server's output: %w", err)
	}
	if err = cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	kubeconfig, err := awaitReady(bufio.NewScanner(out))
	if err != nil {
		return nil, fmt.Errorf("%s up --only apiserver: %w; its log ends: %s", binary, err, Tail(filepath.Join(dir, "stderr")))
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the API server's kubeconfig: %w", err)
	}
	config.QPS = -1 // a test waits for the server, never for its own limiter
	return &server{config: config, pipe: pipe}, nil
}

// awaitReady reads the server's output until its ready line and returns the kubeconfig named there.
func awaitReady(lines *bufio.Scanner) (string, error) {
	ready := make(chan string, 1)
	go func() { // ends with the server: its output closes
		defer close(ready)
		for lines.Scan() {
			if path, found := strings.CutPrefix(lines.Text(), "ready: "); found {
				ready <- path
			}
		}
	}()
	select {
	case path, ok := <-ready:
		if !ok {
			return "", errors.New("it ended before it was ready")
		}
		return path, nil
	case <-time.After(startLimit):
		return "", fmt.Errorf("it was not ready within %s", startLimit)
	}
}

// kubeBinary finds holdfast-kube: HOLDFAST_KUBE, or bin/ at the root of the repository.
func kubeBinary() (string, error) {
	if path := os.Getenv("HOLDFAST_KUBE"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("HOLDFAST_KUBE names no file: %w", err)
		}
		return path, nil
	}
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "holdfast-kube")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("there is no %s: run `make kube`, or set HOLDFAST_KUBE to a built one", path)
	}
	return path, nil
}

// repositoryRoot walks up from the test's directory to the folder that holds go.mod.
func repositoryRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := start; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no go.mod at or above %s: run the tests inside the repository", start)
}

// Tail returns the last lines of a file, for an error message.
func Tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
