package node

import (
	"sync/atomic"
	"testing"
)

func TestOneNetworkIsMadeAtATime(t *testing.T) {
	var inside, most atomic.Int32
	done := make(chan error, 4)
	for range cap(done) {
		go func() {
			unlock, err := lockMachine(t.Context())
			if err == nil {
				if now := inside.Add(1); now > most.Load() {
					most.Store(now)
				}
				inside.Add(-1)
				unlock()
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d were inside at once, want 1", most.Load())
	}
}
