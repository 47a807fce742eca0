package clock

import "golang.org/x/sys/unix"

// suspended returns how long the machine slept since it booted: the clock
// that counts sleep less the one that does not. Zero if there is no telling.
func suspended() int64 {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return 0
	}
	return boot.Nano() - mono.Nano()
}
