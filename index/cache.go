package index

// CacheMode says which indexes stay in memory. It changes how fast a look-up
// by offset or time is, and nothing else.
type CacheMode uint8

// The cache modes. The zero CacheMode stands for ActiveSegment, and in the
// configuration of a topic that exists for the mode it has.
const (
	// ActiveSegment keeps the index of the segment being written: at most 24
	// bytes for each kibibyte. Look-ups in others read a few places of a file.
	ActiveSegment CacheMode = iota + 1
	// All keeps every index once it was used.
	All
	// None keeps only what is not in a file yet.
	None
)

func (m CacheMode) String() string {
	switch m {
	case ActiveSegment:
		return "active"
	case All:
		return "all"
	case None:
		return "none"
	}
	return "unknown"
}
