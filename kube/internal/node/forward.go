package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// serverPort is where nodes find the API server, whatever port it has on the machine's loopback: the hub's address
// belongs to one data directory alone, so it is always free.
const serverPort = 6443

// Forward serves the nodes' side of the API server: it listens in the hub (on 6443 and on the API server's own port,
// which the kubernetes Service names) and passes each connection to 127.0.0.1:port. It returns once it listens, and
// goes on until ctx ends.
func (n *Network) Forward(ctx context.Context, port int) error {
	ports := []int{serverPort}
	if port != serverPort {
		ports = append(ports, port)
	}
	target := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for _, p := range ports {
		var l net.Listener
		err := inNetns(n.hubNS(), func() (err error) {
			address := net.JoinHostPort(n.ControlPlaneIP(), strconv.Itoa(p))
			if l, err = new(net.ListenConfig).Listen(ctx, "tcp4", address); err != nil {
				return fmt.Errorf("listen on %s: %w", address, err)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("serve the API server to nodes: %w", err)
		}
		context.AfterFunc(ctx, func() { _ = l.Close() })
		go accept(ctx, l, target)
	}
	return nil
}

// accept owns the connections of one listener.
func accept(ctx context.Context, l net.Listener, target string) {
	for {
		in, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as too many open files: it passes
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		go pass(ctx, in, target)
	}
}

func pass(ctx context.Context, in net.Conn, target string) {
	defer func() { _ = in.Close() }()
	d := net.Dialer{Timeout: 5 * time.Second}
	out, err := d.DialContext(ctx, "tcp4", target)
	if err != nil {
		return // the API server is not there: the node sees a closed connection and tries again
	}
	defer func() { _ = out.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = in.Close(); _ = out.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { half(out, in) })
	both.Go(func() { half(in, out) })
	both.Wait()
}

// half copies one direction and passes the end of the stream on.
func half(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if c, ok := to.(*net.TCPConn); ok && err == nil {
		_ = c.CloseWrite()
		return
	}
	_ = to.Close()
	_ = from.Close()
}
