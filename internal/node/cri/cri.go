// Package cri talks to the container runtime of a node, through the interface that the kubelet uses: what runs, with which
// environment, and its end. Nothing of a container's environment is kept but what was asked for by name.
package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// askLimit is how long the runtime may take to answer a question.
	askLimit = 10 * time.Second
	// stopReserve is how long it may take beyond the grace of a container that it stops: it kills it then.
	stopReserve = 30 * time.Second
	// hashAnnotation is where the kubelet keeps its own hash of the container's spec.
	hashAnnotation = "io.kubernetes.container.hash"
)

// ErrNotFound says that the runtime does not know the container (any more).
var ErrNotFound = errors.New("the container runtime does not know the container")

// Container is one run of a container, as the runtime knows it.
type Container struct {
	// Image is the name by which the kubelet asked for it; "" where the runtime does not keep that.
	Image string
	// Running says that it was started and has not ended.
	Running bool
	// StartedAt is when, by the node's clock.
	StartedAt time.Time
	// KubeletHash is the kubelet's hash of its spec; 0 where the runtime does not tell.
	KubeletHash uint64
	// Env are the variables that were asked for, with the values that it was started with.
	Env map[string]string
}

// Client is a connection to a runtime. It connects when it is used first, and again when the runtime comes back.
type Client struct {
	conn    *grpc.ClientConn
	runtime runtimev1.RuntimeServiceClient
}

// Endpoints are where runtimes listen as a rule, in the order in which they are looked for.
func Endpoints() []string {
	return []string{
		"/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/cri-dockerd.sock", "/run/k3s/containerd/containerd.sock",
	}
}

// Find returns the first of the usual endpoints that exists below root, which is "" or where the node's /run is
// mounted. /var/run is the same folder wherever such a runtime runs.
func Find(root string) (string, error) {
	for _, path := range Endpoints() {
		info, err := os.Stat(root + path)
		if err == nil && info.Mode()&fs.ModeSocket != 0 {
			return "unix://" + root + path, nil
		}
	}
	return "", fmt.Errorf("no container runtime listens at %s: name its socket with --runtime-endpoint", strings.Join(Endpoints(), ", "))
}

// Dial makes a client of the runtime at an endpoint, such as unix:///run/containerd/containerd.sock.
func Dial(endpoint string) (*Client, error) {
	if path, ok := strings.CutPrefix(endpoint, "unix://"); !ok || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("the runtime's endpoint is %q: use unix:// and the absolute path of its socket", endpoint)
	}
	retry := backoff.DefaultConfig
	retry.MaxDelay = 5 * time.Second // a runtime that was restarted is back soon
	conn, err := grpc.NewClient(endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine, which only root may open
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: askLimit}))
	if err != nil {
		return nil, fmt.Errorf("make a client of the container runtime at %s: %w", endpoint, err)
	}
	return &Client{conn: conn, runtime: runtimev1.NewRuntimeServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("leave the container runtime: %w", err)
	}
	return nil
}

// Version is the runtime's name and version, for people.
func (c *Client) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	answer, err := c.runtime.Version(ctx, &runtimev1.VersionRequest{})
	if err != nil {
		return "", told("ask the container runtime for its version", err)
	}
	return answer.GetRuntimeName() + " " + answer.GetRuntimeVersion(), nil
}

// Inspect tells of a container, with the values of the variables called names that it was started with.
func (c *Client) Inspect(ctx context.Context, id string, names ...string) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	what := "look at container " + id
	answer, err := c.runtime.ContainerStatus(ctx, &runtimev1.ContainerStatusRequest{ContainerId: id, Verbose: len(names) > 0})
	if err != nil {
		return Container{}, told(what, err)
	}
	is := answer.GetStatus()
	seen := Container{Image: is.GetImage().GetUserSpecifiedImage(), Running: is.GetState() == runtimev1.ContainerState_CONTAINER_RUNNING}
	if at := is.GetStartedAt(); at > 0 {
		seen.StartedAt = time.Unix(0, at)
	}
	if hash, err := strconv.ParseUint(is.GetAnnotations()[hashAnnotation], 16, 64); err == nil {
		seen.KubeletHash = hash
	}
	if len(names) > 0 {
		if seen.Env, err = environment(answer.GetInfo()["info"], names); err != nil {
			return Container{}, fmt.Errorf("%s: %w", what, err)
		}
	}
	return seen, nil
}

// info is what runtimes tell of a container beyond the interface: containerd and CRI-O the specification by which it was
// started.
type info struct {
	RuntimeSpec struct {
		Process struct {
			Env []string `json:"env"`
		} `json:"process"`
	} `json:"runtimeSpec"`
}

// environment picks the variables called names out of what the runtime tells. One that is not set counts as empty.
func environment(text string, names []string) (map[string]string, error) {
	var told info
	if err := json.Unmarshal([]byte(text), &told); err != nil || len(told.RuntimeSpec.Process.Env) == 0 {
		return nil, errors.New("the container runtime does not tell the environment that it was started with")
	}
	values := make(map[string]string, len(names))
	for _, name := range names {
		values[name] = ""
	}
	for _, entry := range told.RuntimeSpec.Process.Env { // of two the last is in effect
		name, value, _ := strings.Cut(entry, "=")
		if _, wanted := values[name]; wanted {
			values[name] = value
		}
	}
	return values, nil
}

// Stop ends a container: it gets its stop signal, and is killed after the grace. One that has ended already is fine.
func (c *Client) Stop(ctx context.Context, id string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+stopReserve)
	defer cancel()
	_, err := c.runtime.StopContainer(ctx, &runtimev1.StopContainerRequest{ContainerId: id, Timeout: int64(grace / time.Second)})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return told("stop container "+id, err)
}

// Exec runs a command in a container and waits for its end.
func (c *Client) Exec(ctx context.Context, id string, command []string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit+askLimit)
	defer cancel()
	what := fmt.Sprintf("run %q in container %s", command[0], id)
	answer, err := c.runtime.ExecSync(ctx, &runtimev1.ExecSyncRequest{
		ContainerId: id, Cmd: command, Timeout: max(1, int64(limit/time.Second)), // 0 would be no limit
	})
	if err != nil {
		return told(what, err)
	}
	if code := answer.GetExitCode(); code != 0 {
		return fmt.Errorf("%s: it ended with code %d", what, code)
	}
	return nil
}

// told says what was being done when the runtime answered with an error.
func told(what string, err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.NotFound:
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	case codes.Unavailable:
		return fmt.Errorf("%s: the container runtime does not answer: %w", what, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}
