package datadir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Listen takes a port on that address, and names the process that has it when it is taken.
func Listen(ctx context.Context, host string, port int) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err == nil {
		return listener, nil
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d on %s is in use%s: choose another with --port, or --port 0 for a free one", port, host, owner(port))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("port %d on %s needs root: choose one above 1023 with --port, or --port 0 for a free one", port, host)
	}
	return nil, fmt.Errorf("listen on port %d of %s: %w", port, host, err)
}

// Port is the port of a listener on TCP.
func Port(listener net.Listener) int {
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return address.Port
}

// owner names the process that listens on a port, as far as this user may see it.
func owner(port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeners(table, port, inodes)
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			return " by process " + pid
		}
		return fmt.Sprintf(" by process %s (%s)", pid, strings.TrimSpace(string(name)))
	}
	return ""
}

// listeners adds the inodes of the sockets that listen on a port (proc(5), /proc/net/tcp).
func listeners(table string, port int, inodes map[string]bool) {
	file, err := os.Open(table)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	const stateListen = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == stateListen {
			inodes[fields[9]] = true
		}
	}
}
