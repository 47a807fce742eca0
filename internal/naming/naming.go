// Package naming says what topics and groups may be called.
package naming

import (
	"fmt"
	"strings"
)

// MaxBytes is how long a name is at most.
const MaxBytes = 200

// Check returns why something cannot have this name, nil if it can: letters,
// digits and '_', and behind the first also '.' and '-'.
func Check(name string) error {
	if name == "" || len(name) > MaxBytes {
		return fmt.Errorf("%q has %d bytes, want 1 to %d", Shorten(name), len(name), MaxBytes)
	}
	for i, c := range []byte(name) {
		if !plain(c) && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("%q has %q at byte %d, want letters, digits, '_', and behind the first '.' and '-'", name, c, i)
		}
	}
	if isDevice(name) {
		return fmt.Errorf("%q is a device on Windows", name)
	}
	return nil
}

// Shorten keeps a name of any length out of an error message.
func Shorten(name string) string {
	if len(name) > MaxBytes {
		return name[:MaxBytes] + "…"
	}
	return name
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// isDevice reports whether Windows takes a file of this name for a device, as
// it does whatever follows the first dot.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch base {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	if len(base) != 4 || base[3] < '1' || base[3] > '9' {
		return false
	}
	return base[:3] == "COM" || base[:3] == "LPT"
}
