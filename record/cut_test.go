package record

// cut returns the first frame's worth of a run, the rest, and the frame's
// length.
func cut(run Run, limit, most int) (head, rest Run, length int) {
	n, length := run.Fit(limit, most)
	head, rest = run.Split(n)
	return head, rest, length
}
