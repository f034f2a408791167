package datadir

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestHold(t *testing.T) {
	path := t.TempDir()
	first, err := Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Write(Run{Port: 1}); err != nil {
		t.Fatal(err)
	}
	if err := first.Write(Run{Port: 12345, Ready: true}); err != nil {
		t.Fatal(err)
	}
	run, running, err := Running(path)
	if err != nil || !running || run.PID != os.Getpid() || run.Port != 12345 || !run.Ready {
		t.Errorf("Running: %+v, %t, %v", run, running, err)
	}
	var held *HeldError
	if _, err := Hold(path); !errors.As(err, &held) || held.Run.PID != os.Getpid() || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second Hold: %v, want the holder named", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if _, running, err := Running(path); running || err != nil {
		t.Errorf("after Release: running %t, %v", running, err)
	}
	again, err := Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestRunningKnowsAnotherProcessByItsStart(t *testing.T) {
	path := t.TempDir()
	dir, err := Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Release() }()
	if err := dir.Write(Run{}); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.lock.WriteAt([]byte(`{"pid":1,"started":1}`+strings.Repeat(" ", 200)), 0); err != nil {
		t.Fatal(err)
	}
	if _, running, err := Running(path); !running || err == nil {
		t.Errorf("running %t, %v: a process that is not the one that wrote the file must not be signalled", running, err)
	}
}

func TestListenNamesTheOwner(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := Port(taken)
	_, err = Listen(t.Context(), "127.0.0.1", port)
	if err == nil {
		t.Fatal("a port is taken twice")
	}
	for _, want := range []string{strconv.Itoa(port), "process " + strconv.Itoa(os.Getpid()), "--port"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}
