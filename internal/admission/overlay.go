package admission

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// overlay puts onto raw what changed from before to after. Working on raw itself, and not on what a Go type made of it,
// keeps fields that the type does not know, and does not add the empty ones that it always writes.
func overlay(raw, before, after []byte) ([]byte, error) {
	var r, b, a any
	for _, step := range []struct {
		from []byte
		into *any
	}{{raw, &r}, {before, &b}, {after, &a}} {
		if err := json.Unmarshal(step.from, step.into); err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
	}
	out, err := json.Marshal(lay(r, b, a))
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return out, nil
}

func lay(raw, before, after any) any {
	if reflect.DeepEqual(before, after) {
		return raw
	}
	switch a := after.(type) {
	case map[string]any:
		b, _ := before.(map[string]any)
		r, ok := raw.(map[string]any)
		if !ok {
			return after
		}
		return layMap(r, b, a)
	case []any:
		b, _ := before.([]any)
		r, ok := raw.([]any)
		if !ok || len(b) != len(r) || len(a) < len(r) {
			return after
		}
		out := make([]any, len(a))
		for i := range a {
			if i < len(r) {
				out[i] = lay(r[i], b[i], a[i])
			} else {
				out[i] = a[i]
			}
		}
		return out
	}
	return after
}

func layMap(raw, before, after map[string]any) map[string]any {
	out := make(map[string]any, len(raw))
	for key, value := range raw {
		if _, kept := after[key]; !kept {
			if _, known := before[key]; known {
				continue // taken away
			}
		}
		out[key] = value
	}
	for key, value := range after {
		was, known := before[key]
		if known && reflect.DeepEqual(was, value) {
			continue // as it was, or as the type always writes it
		}
		now, had := raw[key]
		if !had {
			out[key] = value
			continue
		}
		out[key] = lay(now, was, value)
	}
	return out
}
