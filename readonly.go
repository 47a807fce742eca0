package braidlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// This file is what is different in a store that is opened with ReadOnly.
// Somebody else may be writing it: nobody tells this store of new topics,
// changed settings or a checkpoint, so it looks.

// noLock is the lock of a store that takes none.
type noLock struct{}

func (noLock) Close() error { return nil }

// refuseArchive returns why a directory is not opened for writing if it is an
// archive. Whatever else is wrong with it, load finds out.
func (s *Store) refuseArchive() error {
	var m storeMeta
	if err := meta.Read(s.dir, storeFile, &m); err == nil && m.Archive {
		return fmt.Errorf("%w: it is an archive", ErrReadOnly)
	}
	return nil
}

// findTopicsLocked brings the set of topics up to date with the directory.
func (s *Store) findTopicsLocked() error {
	found, err := s.dir.List(topicsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := map[string]bool{}
	for _, e := range found {
		if checkName(e.Name) != nil || e.Kind == fs.KindFile {
			continue // not ours, or half made or deleted
		}
		there[e.Name] = true
		if s.topics[e.Name] == nil {
			s.findTopicLocked(e.Name)
		}
	}
	for name, t := range s.topics {
		if !there[name] {
			s.retireLocked(t)
		}
	}
	for name := range s.broken {
		if !there[name] {
			delete(s.broken, name)
		}
	}
	return nil
}

// findTopicLocked brings what is known of one topic up to date.
func (s *Store) findTopicLocked(name string) {
	if !s.cfg.ReadOnly || checkName(name) != nil {
		return
	}
	if t := s.topics[name]; t != nil {
		if gone, _ := t.reread(); gone == nil { // who reads the topic is told of an error
			return
		}
		s.retireLocked(t)
	}
	before := s.broken[name]
	delete(s.broken, name)
	t, err := s.loadTopic(fs.Entry{Name: name, Kind: fs.KindDir}, s.vouchers)
	switch {
	case err == nil:
		s.topics[name] = t
	case !errors.Is(err, fs.ErrNotExist):
		s.broken[name] = fmt.Errorf("open topic %s: %w", name, known(err))
		if before == nil {
			s.warn(name, "a topic could not be opened", err)
		}
	}
}

// retireLocked takes a topic off the list that was deleted. Its readers are told
// so; Close closes it.
func (s *Store) retireLocked(t *Topic) {
	delete(s.topics, t.name)
	s.retired = append(s.retired, t)
}

// What a topic that is followed was last found to be.
type lastSeen struct {
	mu   yield.Mutex // held while topic.json is read, and while state is replaced
	file []byte      // guarded by mu; its content
}

var errDeleted = fmt.Errorf("%w: it was deleted", ErrTopicNotFound)

// reread takes over settings that were changed, and returns errDeleted if the
// topic is gone.
func (t *Topic) reread() (gone, err error) {
	t.seen.mu.Lock()
	defer t.seen.mu.Unlock()
	b, err := fs.ReadFile(t.store.dir.Sub(topicsDir+"/"+t.name), topicFile, meta.MaxBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errDeleted, nil
	case err != nil:
		return nil, err
	case bytes.Equal(b, t.seen.file):
		return nil, nil
	}
	var m topicMeta
	if err = meta.Decode(topicFile, b, &m); err != nil {
		return nil, known(err)
	}
	if m.Topic != t.id {
		return errDeleted, nil // another one has its name
	}
	config, err := m.parse(t.name)
	if err != nil {
		return nil, err
	}
	old := t.state.Load()
	config.Partitioner = old.config.Partitioner
	t.setState(newTopicState(config, old.placement))
	t.seen.file = b
	return nil, nil
}

// outside tells a partition what its files do not.
func (t *Topic) outside(i int) (o partition.Outside, err error) {
	if o.Gone, err = t.reread(); o.Gone != nil || err != nil {
		return o, err
	}
	o.Durability = t.Config().Durability
	if o.Durability == Sync { // nobody needs it at the others
		o.Durable = t.store.marks.of(t.store.dir, vouch{t.id, i})
	}
	return o, nil
}

// marks are the ends of partitions that the newest checkpoint tells of. Where a
// segment had no room for a marker it is all that tells of the last records.
type marks struct {
	mu   yield.Mutex     // held while the file is read
	head string          // guarded by mu; what it begins with, checksum included
	ends map[vouch]int64 // guarded by mu
}

// of returns a partition's mark, 0 if there is none. A checkpoint that cannot
// be read now is for the next time: without it less is shown, and not more.
func (k *marks) of(dir fs.Dir, v vouch) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if head := headOf(dir, checkpointFile); head != k.head {
		var c checkpointMeta
		if meta.Read(dir, checkpointFile, &c) == nil {
			k.head, k.ends = head, map[vouch]int64{}
			for _, l := range c.Partitions {
				k.ends[vouch{l.Topic, l.Partition}] = l.End
			}
		}
	}
	return k.ends[v]
}

// headOf returns how a file begins, "" if it cannot be read.
func headOf(dir fs.Dir, name string) string {
	f, err := dir.Open(name, false)
	if err != nil {
		return ""
	}
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	if err = errors.Join(ignoreEOF(err), f.Close()); err != nil {
		return ""
	}
	return string(b[:n])
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
