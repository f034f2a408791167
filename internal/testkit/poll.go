package testkit

import (
	"context"
	"errors"
	"testing"
	"time"
)

// tick is the time between two looks at a condition: far below what a person notices, far above what a look costs.
const tick = 15 * time.Millisecond

// Eventually waits until look returns nil, and fails the test after the given time with the last error that it returned.
// why says what was waited for. look must honour its context.
func Eventually(t testing.TB, within time.Duration, why string, look func(ctx context.Context) error) {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var last error
	for {
		err := look(ctx)
		if err == nil {
			return
		}
		// A look that was cut short by the deadline says less than the one before it.
		if last == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s for: %s\nlast seen: %v", time.Since(start).Round(time.Millisecond), why, last)
		case <-ticker.C:
		}
	}
}
