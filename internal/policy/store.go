package policy

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// How many ConfigMaps make the ring, and how many decisions one holds: together some hundred kilobytes.
	pages       = 16
	pageSize    = 1000
	maxPageSize = 8 << 20 // of a page as text; more was not written by us

	keyDecisions     = "decisions.jsonl.gz"
	annotationNumber = "holdfast.io/sequence"
	labelPage        = "holdfast.io/decisions"
	// How often a write that lost against another replica's is tried again, and the least time in between.
	maxConflicts  = 20
	conflictPause = 20 * time.Millisecond
)

// +kubebuilder:rbac:groups="",namespace=holdfast-system,resources=configmaps,verbs=get;create;update

// Store keeps the latest decisions of all replicas in a ring of ConfigMaps: the page with the highest sequence is written
// on; when it is full, the oldest page becomes the newest.
type Store struct {
	client    client.Client
	namespace string
	// at is the page that was written last; -1: not looked for yet.
	at int
	// last is that page as our own last write left it, so that it need not be read to be written on. Should another replica
	// have written since, the next write is refused, and the page is read.
	last *page
}

// NewStore makes the store in a namespace. Only one goroutine may use it at a time.
func NewStore(c client.Client, namespace string) *Store {
	return &Store{client: c, namespace: namespace, at: -1}
}

// page is one ConfigMap of the ring, with its n decisions as lines of JSON: they are only decoded to be looked at.
type page struct {
	config   *corev1.ConfigMap
	sequence int64
	lines    []byte
	n        int
}

// Append writes decisions down, in one write as a rule.
func (s *Store) Append(ctx context.Context, decisions []Decision) error {
	for conflicts := 0; len(decisions) > 0; {
		current, err := s.current(ctx)
		if err != nil {
			return err
		}
		n := min(pageSize-current.n, len(decisions))
		err = s.write(ctx, current, decisions[:n])
		switch {
		case err == nil:
			decisions, conflicts = decisions[n:], 0
		case (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)) && conflicts < maxConflicts:
			conflicts++ // another replica wrote the page: let it go on, and read it again
			if err := pause(ctx, wait.Jitter(conflictPause, 4)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("write the decisions into ConfigMap %s/%s: %w", s.namespace, pageName(s.at), err)
		}
	}
	return nil
}

// current is the page to write on: one with room, emptied if it was the oldest.
func (s *Store) current(ctx context.Context) (*page, error) {
	if s.last != nil && s.last.n < pageSize {
		return s.last, nil
	}
	if s.at < 0 {
		all, err := readAll(ctx, s.client, s.namespace)
		if err != nil {
			return nil, err
		}
		s.at = 0
		for i := range all {
			if all[i].sequence > all[s.at].sequence {
				s.at = i
			}
		}
	}
	for range pages + 1 {
		here, err := readPage(ctx, s.client, s.namespace, s.at)
		if err != nil || here.n < pageSize {
			return here, err
		}
		s.at = (s.at + 1) % pages
		next, err := readPage(ctx, s.client, s.namespace, s.at)
		if err != nil {
			return nil, err
		}
		if next.sequence <= here.sequence {
			next.lines, next.n, next.sequence = nil, 0, here.sequence+1
			return next, nil
		}
	}
	return nil, errors.New("find a page for the decisions: every page is full and none is the oldest")
}

// write adds decisions to a page.
func (s *Store) write(ctx context.Context, p *page, decisions []Decision) error {
	s.last = nil     // until the write is known to be made
	lines := p.lines // nobody else uses what is behind them
	for i := range decisions {
		line, err := json.Marshal(decisions[i])
		if err != nil {
			return fmt.Errorf("encode a decision: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	text, err := pack(lines)
	if err != nil {
		return err
	}
	config := p.config
	config.BinaryData = map[string][]byte{keyDecisions: text}
	config.Labels = map[string]string{labelPage: "true", "app.kubernetes.io/managed-by": "holdfast", "app.kubernetes.io/name": "holdfast"}
	config.Annotations = map[string]string{annotationNumber: strconv.FormatInt(p.sequence, 10)}
	if config.ResourceVersion == "" {
		err = s.client.Create(ctx, config)
	} else {
		err = s.client.Update(ctx, config)
	}
	if err != nil {
		return err //nolint:wrapcheck // the caller names the ConfigMap
	}
	config.BinaryData = nil // the lines say the same
	s.last = &page{config: config, sequence: p.sequence, lines: lines, n: p.n + len(decisions)}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write the decisions: %w", ctx.Err())
	}
}

func pageName(i int) string { return fmt.Sprintf("holdfast-decisions-%02d", i) }

// Read returns what the ring holds, the newest decision first.
func Read(ctx context.Context, from client.Reader, namespace string) ([]Decision, error) {
	all, err := readAll(ctx, from, namespace)
	if err != nil {
		return nil, err
	}
	var decisions []Decision
	for _, p := range all {
		decisions = p.decode(decisions)
	}
	slices.SortStableFunc(decisions, func(a, b Decision) int { return b.Time.Compare(a.Time) })
	return decisions, nil
}

func readAll(ctx context.Context, from client.Reader, namespace string) ([]*page, error) {
	all := make([]*page, pages)
	for i := range all {
		var err error
		if all[i], err = readPage(ctx, from, namespace, i); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readPage reads a page; one that does not exist is empty.
func readPage(ctx context.Context, from client.Reader, namespace string, i int) (*page, error) {
	config := &corev1.ConfigMap{}
	err := from.Get(ctx, client.ObjectKey{Namespace: namespace, Name: pageName(i)}, config)
	if apierrors.IsNotFound(err) {
		return &page{config: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pageName(i)}}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the decisions in ConfigMap %s/%s: %w", namespace, pageName(i), err)
	}
	p := &page{config: config}
	// Somebody's rubbish counts as an empty page, and is written over.
	p.sequence, _ = strconv.ParseInt(config.Annotations[annotationNumber], 10, 64)
	p.lines, p.n = unpack(config.BinaryData[keyDecisions])
	return p, nil
}

// decode appends the page's decisions.
func (p *page) decode(to []Decision) []Decision {
	for line := range bytes.Lines(p.lines) {
		var d Decision
		if json.Unmarshal(line, &d) == nil {
			to = append(to, d)
		}
	}
	return to
}

// pack compresses quickly: it is done every few seconds, beside decisions that somebody waits for.
func pack(lines []byte) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err == nil {
		_, err = zip.Write(lines)
	}
	if err == nil {
		err = zip.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress the decisions: %w", err)
	}
	return out.Bytes(), nil
}

// unpack reads as many lines as can be read, and counts them.
func unpack(text []byte) (lines []byte, n int) {
	zip, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, 0
	}
	all, _ := io.ReadAll(io.LimitReader(zip, maxPageSize)) // what is whole of it
	for line := range bytes.Lines(all) {
		if n == pageSize || !json.Valid(line) {
			break
		}
		lines, n = all[:len(lines)+len(line)], n+1
	}
	return lines, n
}
