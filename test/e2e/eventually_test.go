package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// step is the time between two looks at something that may not be there yet.
const step = 50 * time.Millisecond

// eventually looks until check has nothing to complain about, and fails with its last complaint at the deadline.
func eventually(t *testing.T, within time.Duration, what string, check func(ctx context.Context) error) {
	t.Helper()
	if err := until(t.Context(), within, check); err != nil {
		t.Fatalf("%s: not within %s: %v", what, within, err)
	}
}

// until is eventually without a test to fail.
func until(ctx context.Context, within time.Duration, check func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // the complaint of a look that the deadline cut short says less
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", last, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
