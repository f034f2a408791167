package controlplane

import (
	"errors"
	"net"
	"sync"
)

// Listeners serves several addresses as one, so that the API server is on loopback for the user
// and on the nodes' bridge for pods, and nowhere else.
func Listeners(first net.Listener, more ...net.Listener) net.Listener {
	if len(more) == 0 {
		return first
	}
	m := &merged{Listener: first, more: more, conns: make(chan accepted), done: make(chan struct{})}
	for _, l := range append([]net.Listener{first}, more...) {
		go m.serve(l) // ends when Close closes l
	}
	return m
}

type accepted struct {
	conn net.Conn
	err  error
}

type merged struct {
	net.Listener
	more  []net.Listener
	conns chan accepted
	done  chan struct{}
	once  sync.Once
}

func (m *merged) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		select {
		case m.conns <- accepted{conn, err}:
		case <-m.done:
			if conn != nil {
				conn.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Accept returns the next connection to any of the addresses.
func (m *merged) Accept() (net.Conn, error) {
	select {
	case a := <-m.conns:
		return a.conn, a.err
	case <-m.done:
		return nil, net.ErrClosed
	}
}

// Close closes them all.
func (m *merged) Close() error {
	err := m.Listener.Close()
	m.once.Do(func() {
		close(m.done)
		for _, l := range m.more {
			err = errors.Join(err, l.Close())
		}
	})
	return err
}
