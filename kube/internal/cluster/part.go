package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// stopTimeout is what one part gets to end before the process goes on without it.
const stopTimeout = 20 * time.Second

// parts are the running pieces of a cluster. They are stopped in the reverse of the order in which
// they were started, so that each one still has what it stands on.
type parts struct {
	running []*part
	failed  chan error

	mu     sync.Mutex
	faults []error // of stopping
}

type part struct {
	name string
	stop func()
	done chan struct{}
}

func newParts() *parts { return &parts{failed: make(chan error, 1)} }

// run starts a piece that works until its context ends. Ending before that fails the whole cluster.
func (p *parts) run(ctx context.Context, name string, work func(ctx context.Context) error) {
	// The pieces must outlive the signal that ends ctx: stop ends them one by one.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	p.running = append(p.running, &part{name: name, stop: cancel, done: done})
	go func() { // ends with stop
		defer close(done)
		err := work(ctx)
		if ctx.Err() != nil {
			return
		}
		p.fail(fmt.Errorf("%s: %w", name, or(err, errors.New("ended by itself"))))
	}()
}

// hold registers something that needs closing only.
func (p *parts) hold(name string, stop func()) {
	done := make(chan struct{})
	p.running = append(p.running, &part{name: name, done: done, stop: func() {
		go func() { // ends with stop, which is bounded by whoever wrote it
			defer close(done)
			stop()
		}()
	}})
}

// fail keeps the first failure: the later ones follow from it.
func (p *parts) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

// note keeps what went wrong while a part was stopped.
func (p *parts) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.faults = append(p.faults, err)
	}
}

// await returns when wait does, or earlier when a part fails.
func (p *parts) await(ctx context.Context, wait func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result := make(chan error, 1)
	go func() { result <- wait(ctx) }() // ends with ctx
	select {
	case err := <-result:
		return err
	case err := <-p.failed:
		return err
	}
}

// stop ends all parts and says which of them did not end in time.
func (p *parts) stop() error {
	var errs []error
	for _, v := range slices.Backward(p.running) {
		part := v
		part.stop()
		select {
		case <-part.done:
		case <-time.After(stopTimeout):
			errs = append(errs, fmt.Errorf("%s did not stop within %s", part.name, stopTimeout))
		}
	}
	p.running = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(append(errs, p.faults...)...)
}

func or(err, fallback error) error {
	if err != nil {
		return err
	}
	return fallback
}
