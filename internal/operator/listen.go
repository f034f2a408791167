package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"
)

// listen binds an address before anything else is started, so that a port in use ends the start with one clear line.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	if address == Off {
		return nil, nil //nolint:nilnil // no server is wanted, which is no error
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: the port is in use: stop what listens there (`ss -ltnp` shows it), "+
			"or give another address, or port 0 for any free one", flag, address)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: give an address of this machine", flag, address, err)
	}
	return listener, nil
}

// serve answers plain HTTP on listener until ctx ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second, MaxHeaderBytes: 1 << 16}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
		if err := server.Close(); err != nil {
			return fmt.Errorf("stop serving on %s: %w", listener.Addr(), err)
		}
		return nil
	}
}
