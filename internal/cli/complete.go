package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout is how long a user waits for a Tab at most.
const completionTimeout = 3 * time.Second

// completeMany completes TYPE/NAME ..., TYPE NAME ...
func (s *session) completeMany(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return s.complete(cmd, args, word, false)
}

// completeOne completes a single TYPE/NAME or TYPE NAME.
func (s *session) completeOne(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 || len(args) == 1 && strings.Contains(args[0], "/") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.complete(cmd, args, word, false)
}

// completeWhy is completeOne that also offers pods.
func (s *session) completeWhy(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 || len(args) == 1 && strings.Contains(args[0], "/") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.complete(cmd, args, word, true)
}

func (s *session) complete(cmd *cobra.Command, args []string, word string, podsToo bool) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	typed, prefix := "", ""
	if kind, _, slash := strings.Cut(word, "/"); slash {
		typed, prefix = kind, kind+"/"
	} else if len(args) > 0 && !strings.Contains(args[0], "/") {
		typed = args[0]
	}
	if typed == "" {
		names := kindNames()
		if podsToo {
			names = append(names, "pod")
		}
		return begin(names, "", word), cobra.ShellCompDirectiveNoFileComp
	}
	return begin(s.namesOf(ctx, typed), prefix, word), cobra.ShellCompDirectiveNoFileComp
}

// begin returns prefix+name for the names that the word can still become.
func begin(names []string, prefix, word string) []string {
	var fit []string
	for _, name := range names {
		if strings.HasPrefix(prefix+name, word) {
			fit = append(fit, prefix+name)
		}
	}
	return fit
}

// namesOf asks the cluster for the names of a kind; nothing when it cannot be asked.
func (s *session) namesOf(ctx context.Context, typed string) []string {
	n, isType := typeNamed(typed)
	if !isType || s.connect() != nil {
		return nil
	}
	if n.Pod {
		return s.podNames(ctx)
	}
	f, err := s.locate(n.Kind, "")
	if err != nil {
		return nil
	}
	workloads, err := list(ctx, s.client, f)
	if err != nil {
		return nil
	}
	var names []string
	for _, w := range workloads {
		names = append(names, w.Object.GetName())
	}
	return names
}

// completeWords completes a flag from a fixed list.
func completeWords(words ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return begin(words, "", word), cobra.ShellCompDirectiveNoFileComp
	}
}
