package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// manyReplicas is how many operators run at once where several are measured.
const manyReplicas = 3

// replica is one more operator, beside the first.
type replica struct {
	process         *process
	health, metrics string
}

// operatorCPU is the processor time of all replicas.
func (b *bench) operatorCPU() (time.Duration, error) {
	sum, err := b.operator.cpu()
	for _, r := range b.others {
		cpu, failed := r.process.cpu()
		sum, err = sum+cpu, errors.Join(err, failed)
	}
	return sum, err
}

// figures are the addresses at which the replicas tell theirs.
func (b *bench) figures() []string {
	all := []string{b.metrics}
	for _, r := range b.others {
		all = append(all, r.metrics)
	}
	return all
}

// withReplicas measures with several operators. Each listens on a loopback address of its own, and at the address that the API
// server calls, a balancer hands its connections on to each of them in turn, as a Service does.
func (b *bench) withReplicas(ctx context.Context, measure func(context.Context) error) error {
	b.stopOperator()
	_, port, err := net.SplitHostPort(b.webhook)
	if err != nil {
		return fmt.Errorf("read the webhook's address: %w", err)
	}
	backends := make([]string, manyReplicas)
	for i := range backends {
		backends[i] = net.JoinHostPort(fmt.Sprintf("127.0.0.%d", i+2), port)
	}
	stop, err := balance(ctx, b.webhook, backends)
	if err != nil {
		return err
	}
	err = b.startReplicas(ctx, backends)
	if err == nil {
		err = measure(ctx)
	}
	for _, r := range b.others {
		r.process.stop(stopLimit)
	}
	b.others = nil
	b.stopOperator()
	stop()
	if err != nil {
		return err
	}
	if err := b.launchOperator(); err != nil {
		return err
	}
	return b.poll(ctx, startLimit, "the operator is ready", b.operatorReady)
}

// startReplicas starts one operator for each address.
func (b *bench) startReplicas(ctx context.Context, addresses []string) error {
	for i, address := range addresses {
		r := &replica{health: b.health, metrics: b.metrics}
		if i > 0 {
			for _, free := range []*string{&r.health, &r.metrics} {
				var err error
				if *free, err = freeAddress(); err != nil {
					return err
				}
			}
		}
		var err error
		if r.process, err = b.launch(address, r.health, r.metrics, "--leader-elect-identity", "replica-"+strconv.Itoa(i)); err != nil {
			return err
		}
		if i == 0 {
			b.operator = r.process
		} else {
			b.others = append(b.others, r)
		}
	}
	err := b.poll(ctx, startLimit, "all replicas are ready", func(ctx context.Context) error {
		for _, r := range b.others {
			if err := errors.Join(r.process.failed(), ready(ctx, r.health)); err != nil {
				return err
			}
		}
		return b.operatorReady(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w; the end of a log:\n%s", err, testkit.Tail(b.operator.log))
	}
	return nil
}

// launch starts an operator.
func (b *bench) launch(webhook, health, metrics string, more ...string) (*process, error) {
	host, _, err := net.SplitHostPort(b.webhook)
	if err != nil {
		return nil, fmt.Errorf("read the webhook's address: %w", err)
	}
	operator, err := startProcess("operator", filepath.Join(b.dir, "operator.log"), func(string) {}, nil,
		filepath.Join(b.options.bin, "holdfast"), append([]string{
			"operator", "--kubeconfig", b.identity, "--kube-api-qps", strconv.Itoa(qps), "--kube-api-burst", strconv.Itoa(burst),
			"--webhook-bind", webhook, "--webhook-url-host", host, "--health-bind", health, "--metrics-bind", metrics,
		}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("%w; build it with `make build`", err)
	}
	return operator, nil
}

// balance hands the connections to an address on to the backends in turn, those that answer, until stop.
func balance(ctx context.Context, address string, backends []string) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the replicas: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	var next atomic.Uint64
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed by stop
			}
			running.Go(func() {
				defer func() { _ = client.Close() }() // both ends have said all
				for range backends {
					backend, err := (&net.Dialer{}).DialContext(ctx, "tcp", backends[next.Add(1)%uint64(len(backends))])
					if err == nil {
						pass(ctx, client, backend)
						return
					}
				}
			})
		}
	})
	return func() {
		cancel()
		_ = listener.Close() // it was open
		running.Wait()
	}, nil
}

// pass copies both ways until either end has closed, or ctx ends.
func pass(ctx context.Context, a, b net.Conn) {
	over := context.AfterFunc(ctx, func() { _, _ = a.Close(), b.Close() })
	defer over()
	var running sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		running.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // how it ended is the ends' business
			_, _ = a.Close(), b.Close()
		})
	}
	running.Wait()
}
