package cli

import (
	"fmt"
	"sort"
	"strings"
)

// hookText says who holds a pod at a hook of its lifecycle.
func hookText(w Workload, hook string) string {
	var handler struct {
		Labels     map[string]string `json:"labelsHandler"`
		Finalizers []string          `json:"finalizersHandler"`
	}
	w.decode("spec.lifecycle."+hook, &handler)
	var signs []string
	for key, value := range handler.Labels {
		signs = append(signs, fmt.Sprintf("label %s=%s", key, value))
	}
	for _, f := range handler.Finalizers {
		signs = append(signs, "finalizer "+f)
	}
	sort.Strings(signs)
	if len(signs) == 0 {
		return "hook " + hook
	}
	return fmt.Sprintf("hook %s (%s)", hook, strings.Join(signs, ", "))
}
