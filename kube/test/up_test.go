package test

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/kube/internal/datadir"
)

func TestDataOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	// Deeper than the 107 bytes that the path of a socket may have.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep-", 24))
	const secret = "nobody-may-read-this-on-the-disk"
	ctx := t.Context()

	c := up(t, dir, "--only", "apiserver")
	_, err := c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "kept"}, StringData: map[string]string{"key": secret},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	version, err := c.ServerVersion()
	if err != nil || !strings.HasPrefix(version.GitVersion, "v1.") || version.Minor == "" {
		t.Errorf("version %+v, %v: want one that kubectl can read", version, err)
	}

	if out, err := run(t, "up", "--data-dir", dir, "--only", "apiserver"); err == nil ||
		!strings.Contains(out, "process "+strconv.Itoa(c.cmd.Process.Pid)) || !strings.Contains(out, "holdfast-kube down") {
		t.Errorf("second up on the directory: %v, %q; want the process and the way out named", err, out)
	}
	c.kill()
	assertPrivate(t, dir, secret)

	for _, how := range []string{"killed", "stopped by down"} {
		c = up(t, dir, "--only", "apiserver")
		got, err := c.CoreV1().Secrets("default").Get(ctx, "kept", metav1.GetOptions{})
		if err != nil || string(got.Data["key"]) != secret {
			t.Fatalf("after the process was %s: %q, %v", how, got.Data["key"], err)
		}
		if out, err := run(t, "status", "--data-dir", dir); err != nil || !strings.Contains(out, "ready: ") {
			t.Errorf("status: %v, %q", err, out)
		}
		if out, err := run(t, "down", "--data-dir", dir); err != nil {
			t.Fatalf("down: %v, %s", err, out)
		}
		<-c.done
	}
	if out, err := run(t, "status", "--data-dir", dir); err == nil {
		t.Errorf("status of a cluster that is down succeeds: %s", out)
	}
	if out, err := run(t, "down", "--data-dir", dir); err != nil {
		t.Errorf("down of a cluster that is down: %v, %s", err, out)
	}

	if err := os.Remove(filepath.Join(dir, "pki", "encryption.yaml")); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "up", "--data-dir", dir, "--only", "apiserver", "--port", "0"); err == nil || !strings.Contains(out, "encryption.yaml is gone") {
		t.Errorf("up without the key of stored secrets: %v, %q", err, out)
	}
}

// TestDownEndsWatches is what a client with an open watch must not do: hold up the end.
func TestDownEndsWatches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := up(t, dir, "--only", "apiserver")
	for range 3 {
		watch, err := c.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Stop()
	}
	began := time.Now()
	if out, err := run(t, "down", "--data-dir", dir); err != nil {
		t.Fatalf("down: %v, %s", err, out)
	}
	if took := time.Since(began); took > 10*time.Second { // 60 s where the server waits for its clients
		t.Errorf("down took %s", took)
	} else {
		t.Logf("down took %s", took)
	}
	<-c.done
	if said := c.stderr.String(); said != "" {
		t.Errorf("on the standard error stream: %s", said)
	}
	if _, err := os.Stat(filepath.Join(dir, "log", "stderr.log")); err != nil {
		t.Errorf("the log of what libraries write there: %v", err)
	}
}

// assertPrivate looks for the secret in every file, and for files that others may read.
func assertPrivate(t *testing.T, dir, secret string) {
	t.Helper()
	read := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		raw, err := os.ReadFile(path) //nolint:gosec // nobody else writes there
		if err != nil {
			return err
		}
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("%s holds the secret in clear", path)
		}
		if bytes.Contains(raw, []byte("k8s:enc:secretbox:v1:")) {
			read++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read == 0 {
		t.Error("no file holds an encrypted secret: the search looked in the wrong place")
	}
}

func TestUpRefuses(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // after the parallel parts
	port := strconv.Itoa(datadir.Port(taken))
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"a port in use", []string{"--port", port}, []string{"port " + port, "in use by process " + strconv.Itoa(os.Getpid()), "--port 0"}},
		{"a file as directory", []string{"--data-dir", file}, []string{file, "--data-dir"}},
		{"a directory that cannot be made", []string{"--data-dir", "/proc/nowhere"}, []string{"/proc/nowhere", "--data-dir"}},
		{"an unknown flag", []string{"--nodez", "1"}, []string{"--nodez"}},
		{"an unknown choice", []string{"--only", "etcd"}, []string{`"etcd"`, "apiserver"}},
		{"an argument", []string{"now"}, []string{`"now"`}},
		{"nodes without the rest", []string{"--only", "apiserver", "--nodes", "1"}, []string{"--only", "--nodes"}},
		{"no directory", []string{"--data-dir", ""}, []string{"--data-dir"}},
		{"a port too high", []string{"--port", "65536"}, []string{"--port 65536"}},
		{"a negative number of nodes", []string{"--nodes", "-1"}, []string{"--nodes -1"}},
		{"too many simulated nodes", []string{"--simulated", "5001"}, []string{"5001", "5000"}},
		{"a delay that is none", []string{"--simulated-restart-delay", "soon"}, []string{`"soon"`}},
		{"a range turned round", []string{"--simulated-restart-delay", "3s-1s"}, []string{`"3s-1s"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"up", "--data-dir", t.TempDir()}, test.args...)
			out, err := run(t, args...)
			if err == nil {
				t.Fatalf("accepted: %s", out)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("message %q does not say %q", out, want)
				}
			}
		})
	}
}

func TestRealNodesNeedRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("this is root")
	}
	out, err := run(t, "up", "--data-dir", t.TempDir(), "--nodes", "1", "--port", "0")
	if err == nil || !strings.Contains(out, "root") || !strings.Contains(out, "--simulated") {
		t.Errorf("%v, %q: want root asked for and simulated nodes offered", err, out)
	}
}
