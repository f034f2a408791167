package poddeletionflowcontrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// PeerPath is where other replicas ask.
	PeerPath = "/peer/policy.kruise.io/poddeletionflowcontrols"
	// How long another replica may take before we begin to write ourselves, and wait for both.
	peerLimit = 150 * time.Millisecond
	// How long we listen for its answer at most. Who leaves sooner would end the connection, and pay for another one.
	peerMost = time.Second
	// The largest question that is read.
	maxPeerBody = 4 << 10
)

// Caller reaches another replica's PeerPath, over a connection on which both have proved what they are.
type Caller interface {
	Call(ctx context.Context, address, path string, body []byte) ([]byte, error)
}

// peerAsk is a question to the preferred replica.
type peerAsk struct {
	Policy string `json:"policy"`
	// UID of the policy: the answer of another one of that name would mean nothing.
	UID string `json:"uid"`
	Pod uint64 `json:"pod"`
	// Give is the stamp of a permit that comes back: the replica that is preferred by now may have given the pod another one,
	// which somebody else relies on.
	Give int64 `json:"give,omitempty"`
}

var errUnknownPolicy = errors.New("this replica does not know that policy")

// forward asks the preferred replica; the channel is closed when it has no answer in time.
func (b *book) forward(ctx context.Context, a ask) <-chan answer {
	k, there := b.keeper, make(chan answer, 1)
	go func() {
		defer close(there)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), peerMost)
		defer cancel()
		ans, err := b.call(ctx, peerAsk{Policy: b.terms.Load().name, UID: b.terms.Load().uid, Pod: a.hash})
		if err == nil {
			k.owner.answered()
			there <- ans
			return
		}
		k.owner.shun(k.now())
		k.metrics.forwardFailed(b.terms.Load().name)
		k.log.V(1).Info("the preferred replica did not answer", "error", err.Error())
	}()
	return there
}

// accept takes an answer of the preferred replica for ours.
func (b *book) accept(a ask, ans answer) answer {
	if !ans.Allowed {
		return ans
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.keeper.now()
	b.prune(now) // a replica that only asks another one never writes
	b.own(a.hash, permit{stamp: ans.Stamp, until: now, fresh: ans.Fresh, there: true})
	return ans
}

// giveThere gives a permit back to the replica that gave it. Should it not hear, the permit stays counted.
func (b *book) giveThere(ctx context.Context, hash uint64, stamp int64) {
	ctx, cancel := context.WithTimeout(ctx, b.keeper.patience)
	defer cancel()
	_, err := b.call(ctx, peerAsk{Policy: b.terms.Load().name, UID: b.terms.Load().uid, Pod: hash, Give: stamp})
	if err != nil {
		b.keeper.metrics.forwardFailed(b.terms.Load().name)
	}
}

func (b *book) call(ctx context.Context, q peerAsk) (answer, error) {
	k := b.keeper
	address, ok := k.owner.other(k.now())
	if !ok || k.caller == nil {
		return answer{}, fmt.Errorf("no replica to ask: %w", errUnknownPolicy)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return answer{}, fmt.Errorf("encode a question: %w", err)
	}
	raw, err := k.caller.Call(ctx, address, PeerPath, body)
	if err != nil {
		return answer{}, fmt.Errorf("ask the replica at %s: %w", address, err)
	}
	ans := answer{}
	if err := json.Unmarshal(raw, &ans); err != nil {
		return answer{}, fmt.Errorf("read the answer of the replica at %s: %w", address, err)
	}
	return ans, nil
}

// Answer is the other end: it answers a question of another replica, and asks no third.
func (k *Keeper) Answer(ctx context.Context, body []byte) ([]byte, error) {
	q := peerAsk{}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("read the question of another replica: %w", err)
	}
	b := k.book(q.Policy)
	if b == nil || b.terms.Load().uid != q.UID {
		return nil, errUnknownPolicy
	}
	ans := answer{}
	if q.Give != 0 {
		b.release(ctx, q.Pod, q.Give)
	} else {
		var err error
		if ans, err = b.take(ctx, ask{hash: q.Pod, here: true}); err != nil {
			return nil, err
		}
	}
	raw, err := json.Marshal(ans)
	if err != nil {
		return nil, fmt.Errorf("encode the answer to another replica: %w", err)
	}
	return raw, nil
}

// ServeHTTP answers other replicas. Whoever serves it makes sure that they are replicas.
func (k *Keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPeerBody))
	if err == nil {
		body, err = k.Answer(r.Context(), body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // whoever asked has left: he writes himself
}
