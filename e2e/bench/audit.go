package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Actors of the audit log that the report tells apart.
const (
	actorBench    = "bench"
	actorOperator = "operator"
	actorNative   = "native controllers"
	actorNodes    = "node controller"
	actorOther    = "others"
)

// auditEvent is what the benchmark reads of one line of the API server's audit log.
type auditEvent struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	UserAgent  string `json:"userAgent"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestReceivedTimestamp time.Time `json:"requestReceivedTimestamp"`
}

// actor says on whose behalf a request came. The cluster's own parts have accounts of their own; the operator runs with the
// administrator's kubeconfig, as the benchmark does, so between these two the user agent decides.
func (e *auditEvent) actor() string {
	const accounts = "system:serviceaccount:kube-system:"
	user := e.User.Username
	switch account, _ := strings.CutPrefix(user, accounts); account {
	case "deployment-controller", "replicaset-controller", "statefulset-controller", "daemon-set-controller":
		return actorNative
	}
	switch {
	case user == "system:serviceaccount:"+systemNamespace+":"+account:
		return actorOperator
	case user == accounts+"node-controller":
		return actorNodes
	case strings.HasPrefix(user, "system:") || strings.HasPrefix(user, "holdfast:"):
		return actorOther
	case strings.HasPrefix(e.UserAgent, userAgent):
		return actorBench
	case strings.HasPrefix(e.UserAgent, "holdfast"):
		return actorOperator
	default:
		return actorOther
	}
}

// isWrite reports whether a request changes something that the report counts: not events, leases, questions or dry runs.
func (e *auditEvent) isWrite() bool {
	switch e.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
	default:
		return false
	}
	switch e.ObjectRef.Resource {
	case "events", "leases", "subjectaccessreviews", "selfsubjectaccessreviews", "tokenreviews":
		return false
	}
	return !strings.Contains(e.RequestURI, "dryRun=")
}

// what names a write in the report: "create pods", "patch pods/status".
func (e *auditEvent) what() string {
	if e.ObjectRef.Subresource != "" {
		return e.Verb + " " + e.ObjectRef.Resource + "/" + e.ObjectRef.Subresource
	}
	return e.Verb + " " + e.ObjectRef.Resource
}

// ledger counts the writes of the API server's audit log by actor and kind. It is safe for several goroutines.
type ledger struct {
	mu       sync.Mutex
	made     map[string]map[string]int // actor, what -> writes that the server carried out
	refused  map[string]map[int]int    // actor, status code -> writes answered with an error
	last     time.Time                 // when the newest counted write was received
	firstPod func(time.Time)           // told once, of the operator's next write to a pod
}

func newLedger() *ledger {
	return &ledger{made: map[string]map[string]int{}, refused: map[string]map[int]int{}}
}

// add counts one event.
func (l *ledger) add(e *auditEvent) {
	if !e.isWrite() {
		return
	}
	actor := e.actor()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
	if code := e.ResponseStatus.Code; code >= 400 {
		if l.refused[actor] == nil {
			l.refused[actor] = map[int]int{}
		}
		l.refused[actor][code]++
		return
	}
	if l.made[actor] == nil {
		l.made[actor] = map[string]int{}
	}
	l.made[actor][e.what()]++
	if l.firstPod != nil && actor == actorOperator && e.ObjectRef.Resource == "pods" {
		l.firstPod(e.RequestReceivedTimestamp)
		l.firstPod = nil
	}
}

// onFirstPodWrite calls told once, with the time at which the server received the operator's next write to a pod.
func (l *ledger) onFirstPodWrite(told func(time.Time)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.firstPod = told
}

// tally is what an actor wrote in a span of time.
type tally struct {
	Made    map[string]int // by what was written
	Refused map[int]int    // by status code
}

// total is the number of writes that the server carried out.
func (t tally) total() int {
	sum := 0
	for _, n := range t.Made {
		sum += n
	}
	return sum
}

// since is what was written between an earlier tally and this one.
func (t tally) since(before tally) tally {
	return tally{Made: difference(t.Made, before.Made), Refused: difference(t.Refused, before.Refused)}
}

// difference subtracts counters, and leaves out what did not change.
func difference[K comparable](after, before map[K]int) map[K]int {
	left := map[K]int{}
	for key, n := range after {
		if n -= before[key]; n > 0 {
			left[key] = n
		}
	}
	return left
}

// refused is the number of writes that were answered with an error.
func (t tally) refused() int {
	sum := 0
	for _, n := range t.Refused {
		sum += n
	}
	return sum
}

// String lists the kinds of writes, the most frequent first.
func (t tally) String() string {
	kinds := slices.SortedFunc(maps.Keys(t.Made), func(a, b string) int {
		if t.Made[a] != t.Made[b] {
			return t.Made[b] - t.Made[a]
		}
		return strings.Compare(a, b)
	})
	words := make([]string, 0, len(kinds)+1)
	for _, kind := range kinds {
		words = append(words, fmt.Sprintf("%d %s", t.Made[kind], kind))
	}
	for _, code := range slices.Sorted(maps.Keys(t.Refused)) {
		words = append(words, fmt.Sprintf("%d refused with %d", t.Refused[code], code))
	}
	return strings.Join(words, ", ")
}

// tally returns what an actor has written so far.
func (l *ledger) tally(actor string) tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return tally{Made: maps.Clone(l.made[actor]), Refused: maps.Clone(l.refused[actor])}
}

// awaitQuiet waits until no counted write has come for a while, so that a phase's late writes are counted with it. It
// gives up after a limit: then something writes without end, and the figures show it.
func (l *ledger) awaitQuiet(ctx context.Context, quiet, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		l.mu.Lock()
		idle := time.Since(l.last)
		l.mu.Unlock()
		if idle >= quiet {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// follow reads the audit log as it grows, until ctx ends. The server renames the file when it is full and starts another
// one: the old one is read to its end first.
func (l *ledger) follow(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("follow the audit log: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	reader := bufio.NewReaderSize(file, 1<<20)
	var partial []byte
	for ctx.Err() == nil {
		line, err := reader.ReadBytes('\n')
		partial = append(partial, line...)
		switch {
		case err == nil:
			l.addLine(partial)
			partial = partial[:0]
			continue
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("read the audit log: %w", err)
		case l.rotated(file, path) && len(line) == 0:
			next, err := os.Open(path)
			if err != nil {
				return fmt.Errorf("follow the audit log into its next file: %w", err)
			}
			_ = file.Close() // it was only read
			file, partial = next, partial[:0]
			reader.Reset(file)
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// rotated reports whether path names another file than the open one by now.
func (l *ledger) rotated(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && !os.SameFile(open, named)
}

// addLine counts one line of the log. A line that is no event is none of the benchmark's business.
func (l *ledger) addLine(line []byte) {
	var e auditEvent
	if json.Unmarshal(line, &e) == nil {
		l.add(&e)
	}
}
