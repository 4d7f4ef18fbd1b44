package clock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// steps are those of the machine's clock. Waiting for one costs nothing: the kernel tells of it.
type steps struct {
	timer  *os.File  // a timer of the clock that never comes, but is cancelled when the clock is set
	clock  time.Time // what the clock said when it was looked at
	passed time.Time // that moment, by the time that passes
}

// watch begins to look at the clock.
func watch() (*steps, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timer of the clock: %w", err)
	}
	s := &steps{timer: os.NewFile(uintptr(fd), "clock")}
	s.look()
	return s, nil
}

// look returns how far the clock went beyond the time that passed since the last step that counted.
func (s *steps) look() time.Duration {
	passed := time.Now()
	clock := passed.Round(0) // of its two readings the clock's alone
	step := clock.Sub(s.clock) - passed.Sub(s.passed)
	if s.clock.IsZero() || step.Abs() >= least {
		s.clock, s.passed = clock, passed
	}
	return step
}

// next waits for the next step of the clock that counts, and returns how far it went: below zero when it was set back.
// Waking up is a step ahead. It is called until ctx ends, and then no more.
func (s *steps) next(ctx context.Context) (time.Duration, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.timer.Close() })
	defer stop()
	ticks := make([]byte, 8)
	for {
		if err := s.arm(); err != nil {
			return 0, err
		}
		// After that, since a step in between would be missed.
		if step := s.look(); step.Abs() >= least {
			return step, nil
		}
		if _, err := s.timer.Read(ticks); err != nil && !errors.Is(err, unix.ECANCELED) {
			return 0, fmt.Errorf("timer of the clock: %w", err)
		}
	}
}

// arm sets the timer, for a time that no clock will show.
func (s *steps) arm() error {
	const never = 1 << 33 // seconds since 1970: in the 23rd century
	raw, err := s.timer.SyscallConn()
	if err != nil {
		return fmt.Errorf("timer of the clock: %w", err)
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		at := unix.ItimerSpec{Value: unix.Timespec{Sec: never}}
		setErr = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &at, nil)
	})
	if err := errors.Join(err, setErr); err != nil {
		return fmt.Errorf("timer of the clock: %w", err)
	}
	return nil
}
