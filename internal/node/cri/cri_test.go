package cri

import (
	"context"
	"errors"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pretended is a runtime with one container, "one".
type pretended struct {
	runtimev1.UnimplementedRuntimeServiceServer

	info    string
	stopped *runtimev1.StopContainerRequest
	ran     *runtimev1.ExecSyncRequest
	code    int32
}

func (p *pretended) Version(context.Context, *runtimev1.VersionRequest) (*runtimev1.VersionResponse, error) {
	return &runtimev1.VersionResponse{RuntimeName: "pretended", RuntimeVersion: "v1"}, nil
}

func (p *pretended) ContainerStatus(_ context.Context, ask *runtimev1.ContainerStatusRequest) (*runtimev1.ContainerStatusResponse, error) {
	if ask.GetContainerId() != "one" {
		return nil, status.Error(codes.NotFound, "no such container")
	}
	answer := &runtimev1.ContainerStatusResponse{Status: &runtimev1.ContainerStatus{
		Id: "one", State: runtimev1.ContainerState_CONTAINER_RUNNING, StartedAt: time.Unix(100, 0).UnixNano(),
		Image:       &runtimev1.ImageSpec{Image: "sha256:abc", UserSpecifiedImage: "web:v1"},
		Annotations: map[string]string{"io.kubernetes.container.hash": "ff"},
	}}
	if ask.GetVerbose() {
		answer.Info = map[string]string{"info": p.info}
	}
	return answer, nil
}

func (p *pretended) StopContainer(_ context.Context, ask *runtimev1.StopContainerRequest) (*runtimev1.StopContainerResponse, error) {
	p.stopped = ask
	if ask.GetContainerId() != "one" {
		return nil, status.Error(codes.NotFound, "no such container")
	}
	return &runtimev1.StopContainerResponse{}, nil
}

func (p *pretended) ExecSync(_ context.Context, ask *runtimev1.ExecSyncRequest) (*runtimev1.ExecSyncResponse, error) {
	p.ran = ask
	return &runtimev1.ExecSyncResponse{ExitCode: p.code}, nil
}

// serve runs the pretended runtime below root, where containerd would be.
func serve(t *testing.T, p *pretended) (root string) {
	t.Helper()
	root = t.TempDir()
	socket := filepath.Join(root, "c.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtimev1.RegisterRuntimeServiceServer(server, p)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return "unix://" + socket
}

func dial(t *testing.T, endpoint string) *Client {
	t.Helper()
	c, err := Dial(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestInspect(t *testing.T) {
	p := &pretended{info: `{"pid":1,"runtimeSpec":{"process":{"env":["PATH=/bin","TIER=silver","NOTE=a=b","TIER=gold","SECRET=x"]}}}`}
	c := dial(t, serve(t, p))
	got, err := c.Inspect(t.Context(), "one", "TIER", "NOTE", "NONE")
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"TIER": "gold", "NOTE": "a=b", "NONE": ""}; !maps.Equal(got.Env, want) {
		t.Errorf("environment is %v, want %v and nothing else", got.Env, want)
	}
	if !got.Running || got.Image != "web:v1" || got.KubeletHash != 255 || !got.StartedAt.Equal(time.Unix(100, 0)) {
		t.Errorf("got %+v", got)
	}
	if got, err = c.Inspect(t.Context(), "one"); err != nil || got.Env != nil {
		t.Errorf("without names: got %v, %v", got.Env, err)
	}
	if _, err = c.Inspect(t.Context(), "two", "TIER"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a container that is not there: %v", err)
	}
	for _, p.info = range []string{"", "{}", "no json", `{"runtimeSpec":{}}`} {
		if _, err = c.Inspect(t.Context(), "one", "TIER"); err == nil || !strings.Contains(err.Error(), "does not tell the environment") {
			t.Errorf("a runtime that tells %q: %v", p.info, err)
		}
	}
}

func TestStopAndExec(t *testing.T) {
	p := &pretended{}
	c := dial(t, serve(t, p))
	if version, err := c.Version(t.Context()); err != nil || version != "pretended v1" {
		t.Errorf("version is %q, %v", version, err)
	}
	if err := c.Stop(t.Context(), "one", 7*time.Second); err != nil || p.stopped.GetTimeout() != 7 {
		t.Errorf("stopped with a grace of %d s: %v", p.stopped.GetTimeout(), err)
	}
	if err := c.Stop(t.Context(), "two", 0); err != nil {
		t.Errorf("one that is gone is stopped: %v", err)
	}
	if err := c.Exec(t.Context(), "one", []string{"sync"}, 100*time.Millisecond); err != nil || p.ran.GetTimeout() != 1 {
		t.Errorf("ran with a limit of %d s, and 0 would be none: %v", p.ran.GetTimeout(), err)
	}
	p.code = 3
	if err := c.Exec(t.Context(), "one", []string{"sync"}, time.Second); err == nil || !strings.Contains(err.Error(), "code 3") {
		t.Errorf("a command that fails: %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	for _, endpoint := range []string{"", "/run/x.sock", "tcp://localhost:1", "unix://relative"} {
		if _, err := Dial(endpoint); err == nil {
			t.Errorf("%q is taken", endpoint)
		}
	}
	if _, err := Find(t.TempDir()); err == nil || !strings.Contains(err.Error(), "--runtime-endpoint") {
		t.Errorf("where no runtime is: %v", err)
	}
	c := dial(t, "unix:///does/not/exist.sock")
	if _, err := c.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a runtime that is away: %v", err)
	}
}
