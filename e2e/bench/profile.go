package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
)

// profileSpan is how long one profile is: go tool pprof adds up those of a phase, and the last one, which the phase's end
// interrupts, is lost.
const profileSpan = 4 * time.Second

// profiles writes processor profiles of the control plane during a phase to the folder of --profile, until stop.
func (b *bench) profiles(ctx context.Context, phase string) (stop func()) {
	if b.options.profile == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			file := filepath.Join(b.options.profile, fmt.Sprintf("%s-%d.pb.gz", strings.ReplaceAll(phase, " ", "-"), n))
			if err := profile(ctx, b.clientset, file); err != nil && ctx.Err() == nil {
				progressf("no profile of %s: %v", phase, err)
				_ = pause(ctx, time.Second) // the one that the former phase interrupted may not have ended yet
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

// profile writes what the control plane's processor time goes to for a while.
func profile(ctx context.Context, clientset kubernetes.Interface, file string) error {
	seconds := strconv.Itoa(int(profileSpan / time.Second))
	data, err := clientset.CoreV1().RESTClient().Get().AbsPath("/debug/pprof/profile").Param("seconds", seconds).Do(ctx).Raw()
	if err != nil {
		return fmt.Errorf("ask the control plane: %w", err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	return nil
}
