package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

// The API server refuses longer messages.
const maxEventMessage = 1000

// How many different messages one event quotes before it only counts.
const maxQuoted = 3

// Event says that something happened in this pass. The frame publishes it after the status is written, one event for each
// type and reason; outside of a pass it does nothing.
func Event(ctx context.Context, eventType, reason, format string, args ...any) {
	if b, ok := ctx.Value(bufferKey{}).(*buffer); ok {
		b.add(eventType, reason, fmt.Sprintf(format, args...), 1)
	}
}

type bufferKey struct{}

// buffer gathers the events of a pass. Its size is bounded by the number of different reasons.
type buffer struct {
	// mu: a room may make many writes at a time, and tell of each.
	mu    sync.Mutex
	notes []note
}

type note struct {
	eventType string
	reason    string
	messages  []string
	count     int
}

func withBuffer(ctx context.Context) (context.Context, *buffer) {
	b := &buffer{}
	return context.WithValue(ctx, bufferKey{}, b), b
}

func (b *buffer) add(eventType, reason, message string, count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.notes, func(n note) bool { return n.eventType == eventType && n.reason == reason })
	if i < 0 {
		b.notes = append(b.notes, note{eventType: eventType, reason: reason})
		i = len(b.notes) - 1
	}
	n := &b.notes[i]
	n.count += count
	if len(n.messages) < maxQuoted && !slices.Contains(n.messages, message) {
		n.messages = append(n.messages, message)
	}
}

// merge puts the notes of an earlier pass, whose status was not written yet, before those of this one.
func (b *buffer) merge(earlier []note) {
	later := b.notes
	b.notes = earlier
	for _, n := range later {
		for i, message := range n.messages {
			count := 1
			if i == len(n.messages)-1 {
				count = n.count - i
			}
			b.add(n.eventType, n.reason, message, count)
		}
	}
}

func (b *buffer) publish(recorder record.EventRecorder, object runtime.Object) {
	if recorder == nil {
		return
	}
	for _, n := range b.notes {
		recorder.Event(object, n.eventType, n.reason, n.text())
	}
}

func (n note) text() string {
	text := strings.Join(n.messages, "; ")
	if rest := n.count - len(n.messages); rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	if len(text) > maxEventMessage {
		text = strings.ToValidUTF8(text[:maxEventMessage-3], "") + "..."
	}
	return text
}

// warn is the frame's own note about a stalled object.
func (b *buffer) warn(stalled *stalledError) {
	b.add(corev1.EventTypeWarning, stalled.reason, stalled.err.Error(), 1)
}
