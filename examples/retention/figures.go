package main

// figures are what is printed in the end: records that were read back.
type figures struct {
	Appended   int `json:"appended"`    // archived and kept
	Archived   int `json:"archived"`    // read from the archive
	Kept       int `json:"kept"`        // read from the topics
	HeldBack   int `json:"held_back"`   // kept over the limit until the slow reader had them
	SlowReader int `json:"slow_reader"` // read by the slow reader
}

func (f *figures) add(c count) {
	f.Appended += c.archived + c.kept
	f.Archived += c.archived
	f.Kept += c.kept
}
