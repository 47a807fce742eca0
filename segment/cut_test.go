package segment

import "github.com/braidlog/braidlog/record"

// cut returns the first frame's worth of a run, the rest, and the frame's
// length.
func cut(run record.Run, limit, most int) (head, rest record.Run, length int) {
	n, length := run.Fit(limit, most)
	head, rest = run.Split(n)
	return head, rest, length
}
