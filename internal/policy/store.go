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

// Store keeps the latest decisions of all replicas in a ring of ConfigMaps: the page with the highest sequence is written
// on; when it is full, the oldest page becomes the newest.
type Store struct {
	client    client.Client
	namespace string
	// at is the page that was written last; -1: not looked for yet.
	at int
}

// NewStore makes the store in a namespace. Only one goroutine may use it at a time.
func NewStore(c client.Client, namespace string) *Store {
	return &Store{client: c, namespace: namespace, at: -1}
}

// page is one ConfigMap of the ring.
type page struct {
	config    *corev1.ConfigMap
	sequence  int64
	decisions []Decision
}

// Append writes decisions down, in one write as a rule.
func (s *Store) Append(ctx context.Context, decisions []Decision) error {
	for conflicts := 0; len(decisions) > 0; {
		current, err := s.current(ctx)
		if err != nil {
			return err
		}
		n := min(pageSize-len(current.decisions), len(decisions))
		err = s.write(ctx, current, slices.Concat(current.decisions, decisions[:n]))
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
func (s *Store) current(ctx context.Context) (page, error) {
	if s.at < 0 {
		all, err := readAll(ctx, s.client, s.namespace)
		if err != nil {
			return page{}, err
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
		if err != nil || len(here.decisions) < pageSize {
			return here, err
		}
		s.at = (s.at + 1) % pages
		next, err := readPage(ctx, s.client, s.namespace, s.at)
		if err != nil {
			return page{}, err
		}
		if next.sequence <= here.sequence {
			next.decisions, next.sequence = nil, here.sequence+1
			return next, nil
		}
	}
	return page{}, errors.New("find a page for the decisions: every page is full and none is the oldest")
}

func (s *Store) write(ctx context.Context, p page, decisions []Decision) error {
	text, err := pack(decisions)
	if err != nil {
		return err
	}
	config := p.config
	config.BinaryData = map[string][]byte{keyDecisions: text}
	config.Labels = map[string]string{labelPage: "true", "app.kubernetes.io/managed-by": "holdfast", "app.kubernetes.io/name": "holdfast"}
	config.Annotations = map[string]string{annotationNumber: strconv.FormatInt(p.sequence, 10)}
	if config.ResourceVersion == "" {
		return s.client.Create(ctx, config) //nolint:wrapcheck // the caller names the ConfigMap
	}
	return s.client.Update(ctx, config) //nolint:wrapcheck // the caller names the ConfigMap
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
		decisions = append(decisions, p.decisions...)
	}
	slices.SortStableFunc(decisions, func(a, b Decision) int { return b.Time.Compare(a.Time) })
	return decisions, nil
}

func readAll(ctx context.Context, from client.Reader, namespace string) ([]page, error) {
	all := make([]page, pages)
	for i := range all {
		var err error
		if all[i], err = readPage(ctx, from, namespace, i); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readPage reads a page; one that does not exist is empty.
func readPage(ctx context.Context, from client.Reader, namespace string, i int) (page, error) {
	config := &corev1.ConfigMap{}
	err := from.Get(ctx, client.ObjectKey{Namespace: namespace, Name: pageName(i)}, config)
	if apierrors.IsNotFound(err) {
		return page{config: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pageName(i)}}}, nil
	}
	if err != nil {
		return page{}, fmt.Errorf("read the decisions in ConfigMap %s/%s: %w", namespace, pageName(i), err)
	}
	p := page{config: config}
	// Somebody's rubbish counts as an empty page, and is written over.
	p.sequence, _ = strconv.ParseInt(config.Annotations[annotationNumber], 10, 64)
	p.decisions, _ = unpack(config.BinaryData[keyDecisions])
	return p, nil
}

func pack(decisions []Decision) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	encoder := json.NewEncoder(zip)
	for i := range decisions {
		if err := encoder.Encode(decisions[i]); err != nil {
			return nil, fmt.Errorf("encode a decision: %w", err)
		}
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("compress the decisions: %w", err)
	}
	return out.Bytes(), nil
}

// unpack reads as much as can be read.
func unpack(text []byte) ([]Decision, error) {
	if len(text) == 0 {
		return nil, nil
	}
	zip, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("decompress the decisions: %w", err)
	}
	decoder := json.NewDecoder(io.LimitReader(zip, maxPageSize))
	var decisions []Decision
	for len(decisions) < pageSize {
		var d Decision
		if err := decoder.Decode(&d); errors.Is(err, io.EOF) {
			return decisions, nil
		} else if err != nil {
			return decisions, fmt.Errorf("decode a decision: %w", err)
		}
		decisions = append(decisions, d)
	}
	return decisions, nil
}
