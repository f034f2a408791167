package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// statusOf is the status of obj as JSON, or nil when its kind has none.
func statusOf(obj client.Object) (json.RawMessage, error) {
	field := reflect.Indirect(reflect.ValueOf(obj)).FieldByName("Status")
	if !field.IsValid() {
		return nil, nil
	}
	if field.IsZero() {
		// Nothing was ever written: the zeros that the type would print are not there yet, and some are required.
		return json.RawMessage("{}"), nil
	}
	raw, err := json.Marshal(field.Interface())
	if err != nil {
		return nil, fmt.Errorf("encode the status of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	return raw, nil
}

// writeStatus patches what changed of the status, in one request. A change of counters alone waits until the
// interval is over: then held is the time until the pass that writes it.
func (f *Frame[T]) writeStatus(ctx context.Context, obj T, before json.RawMessage, m *memo, v verdict) (held time.Duration, err error) {
	after, err := statusOf(obj)
	if err != nil || string(after) == string(before) {
		return 0, err
	}
	diff, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return 0, fmt.Errorf("compare the status of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	counters := !m.wroteAt.IsZero() && countersOnly(before, after)
	// A failed pass comes back when its backoff ends, which may be long: it must not hold anything.
	if v.outcome == outcomeSuccess || v.outcome == outcomeWait || v.outcome == outcomeConflict {
		if left := f.interval(m) - f.opts.Clock.Since(m.wroteAt); left > 0 && counters {
			f.opts.Metrics.wrote(f.opts.Name, "held")
			return left, nil
		}
	}
	if err := f.patchStatus(ctx, obj, diff); err != nil {
		f.opts.Metrics.wrote(f.opts.Name, "failed")
		return 0, err
	}
	f.opts.Metrics.wrote(f.opts.Name, "written")
	if m.counted++; !counters || f.opts.Clock.Since(m.wroteAt) >= calm*f.opts.StatusInterval {
		m.counted = 0
	}
	m.wroteAt = f.opts.Clock.Now()
	m.written = obj
	return 0, nil
}

const (
	// soon is how many changes of mere counters in a row are told at the status interval; those that follow come at twice that:
	// what goes on for so long is watched less closely, and each is a write.
	soon = 10
	// calm is how many status intervals without a write end such a row.
	calm = 4
)

// interval is how long after the last write a change of mere counters waits.
func (f *Frame[T]) interval(m *memo) time.Duration {
	if m.counted >= soon {
		return 2 * f.opts.StatusInterval
	}
	return f.opts.StatusInterval
}

// patchStatus names the uid, so that the status of an object that was deleted and made again under its name is never
// overwritten with that of its forerunner. On success obj is what the API server stored.
func (f *Frame[T]) patchStatus(ctx context.Context, obj T, diff json.RawMessage) error {
	status, err := whole(obj, diff)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": obj.GetUID()},
		"status":   status,
	})
	if err != nil {
		return fmt.Errorf("encode the status patch of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	err = f.client.Status().Patch(ctx, obj, client.RawPatch(types.MergePatchType, patch))
	if err != nil && !apierrors.IsNotFound(err) { // gone: the delete event is on its way
		return fmt.Errorf("write the status of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	return nil
}

// whole adds to the difference the fields that stay as they are. What a Go type shows as 0 may not be stored at all, and
// where the schema requires the field, a patch that leaves it out is refused.
func whole(obj client.Object, diff json.RawMessage) (map[string]any, error) {
	raw, err := statusOf(obj)
	if err != nil {
		return nil, err
	}
	var status, changed map[string]any
	if err := errors.Join(json.Unmarshal(raw, &status), json.Unmarshal(diff, &changed)); err != nil {
		return nil, fmt.Errorf("encode the status of %s: %w", client.ObjectKeyFromObject(obj), err)
	}
	maps.Copy(status, changed)
	return status, nil
}

// countersOnly tells whether two statuses differ in nothing but numbers, messages and times.
func countersOnly(before, after json.RawMessage) bool {
	var a, b map[string]any
	if json.Unmarshal(before, &a) != nil || json.Unmarshal(after, &b) != nil {
		return false
	}
	return reflect.DeepEqual(gist(a), gist(b))
}

// gist is what must be told at once of a status: the generation, conditions with status and reason, and other texts.
func gist(status map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range status {
		switch value := value.(type) {
		case float64:
			if key == "observedGeneration" {
				out[key] = value
			}
		case []any:
			out[key] = gistOfList(value)
		case map[string]any:
			out[key] = gist(value)
		default:
			out[key] = value
		}
	}
	return out
}

// gistOfList knows a list of conditions by its types, and a list of things that have a reason, such as changes that wait,
// by its reasons.
func gistOfList(list []any) any {
	out := map[string]any{}
	for _, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			return list
		}
		if kind, named := object["type"].(string); named {
			out[kind] = []any{object["status"], object["reason"]}
		} else if reason, reasoned := object["reason"].(string); reasoned {
			out[reason] = true
		} else {
			return list
		}
	}
	return out
}
