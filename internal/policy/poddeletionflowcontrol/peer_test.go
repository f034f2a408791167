package poddeletionflowcontrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// distant is a preferred replica that takes its time.
type distant struct {
	takes time.Duration
	gone  bool
	asked int
}

func (d *distant) Call(ctx context.Context, _, _ string, _ []byte) ([]byte, error) {
	d.asked++
	if d.gone {
		return nil, errors.New("connection refused")
	}
	timer := time.NewTimer(d.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return json.Marshal(answer{Allowed: true, Reason: ReasonAdmitted, Stamp: 1, Fresh: true})
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSlowPreferredReplica: whoever asks it waits for it or for our own write, whichever is first.
func TestSlowPreferredReplica(t *testing.T) {
	for _, test := range []struct {
		reason  string
		peer    distant
		write   time.Duration
		want    time.Duration
		written int
	}{
		{"it answers in time", distant{takes: 100 * time.Millisecond}, 0, 100 * time.Millisecond, 0},
		{"it is late, and we write meanwhile", distant{takes: 400 * time.Millisecond}, 20 * time.Millisecond, peerLimit + 20*time.Millisecond, 1},
		{"it is late, and sooner than our write", distant{takes: 400 * time.Millisecond}, 2 * time.Second, 400 * time.Millisecond, 0},
		{"it is gone", distant{gone: true}, 20 * time.Millisecond, 20 * time.Millisecond, 1},
		{"it says nothing at all", distant{takes: time.Hour}, 20 * time.Millisecond, peerLimit + 20*time.Millisecond, 1},
	} {
		t.Run(test.reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := holder(t)
				elapse(spendable + time.Second) // what it had set aside is given back
				synctest.Wait()
				s.caller, store.takes = &test.peer, test.write
				s.owner.set(time.Time{}, "preferred")
				before, _ := s.shelf.of("fleet").get()
				begun := time.Now()
				s.take(deletion("a"))
				if took := time.Since(begun); took != test.want {
					t.Errorf("it took %s, want %s", took, test.want)
				}
				after, _ := s.shelf.of("fleet").get()
				if n := after.Pods() - before.Pods(); n != test.written {
					t.Errorf("%d were written, want %d", n, test.written)
				}
				elapse(3 * time.Second) // until nobody is under way any more
			})
		})
	}
}

// TestPreferredReplicaThatIsAway: it is left alone longer and longer, and permits are set aside here meanwhile.
func TestPreferredReplicaThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := holder(t)
		elapse(spendable + time.Second)
		peer := &distant{gone: true}
		s.caller, store.takes = peer, time.Millisecond
		s.owner.set(time.Time{}, "preferred")
		for i := range 64 {
			s.take(deletion(fmt.Sprint("pod-", i)))
			elapse(250 * time.Millisecond)
		}
		if peer.asked < 3 || peer.asked > 5 { // after 1, 2, 4 and 8 s, and once what is set aside is spent
			t.Errorf("it was asked %d times in 16 s, want 3 to 5", peer.asked)
		}
		if b := s.all()[0]; !b.block.open {
			t.Error("no permits are set aside")
		}
		peer.gone, peer.asked = false, 0
		elapse(unreachableMost)
		s.take(deletion("a"))
		s.take(deletion("b"))
		if peer.asked != 2 {
			t.Errorf("it was asked %d times once it was back, want twice", peer.asked)
		}
	})
}
