package braidlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/naming"
	"github.com/braidlog/braidlog/partition"
)

// moveToArchive puts a segment into the archive in the directory path, which is
// laid out as a store: what was moved there can be read with ReadOnly. The
// original goes when it is trimmed. Each step is durable before the next, and
// all may be taken again.
func (t *Topic) moveToArchive(ctx context.Context, path string, p *partition.Partition, seg partition.Sealed) (err error) {
	inside, err := t.store.dir.Holds(path)
	if err != nil {
		return err
	}
	if inside {
		return fmt.Errorf("%w archive directory: %s is in the store", ErrInvalid, path)
	}
	dir, err := t.store.cfg.fs.OpenDir(path, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err = t.store.makeArchive(dir); err != nil {
		return err
	}
	if err = t.makeArchived(dir); err != nil {
		return err
	}
	number := strconv.Itoa(p.Number())
	parts := dir.Sub(topicsDir + "/" + t.name + "/" + partitionsDir)
	if err = makeDir(parts, number); err != nil {
		return err
	}
	own := parts.Sub(number)
	if err = seg.CopyTo(ctx, own); err != nil {
		return err
	}
	if err = own.Sync("."); err != nil {
		return err
	}
	return seg.DescribeArchived(own)
}

// makeArchive makes a directory an archive of this store, unless it is.
func (s *Store) makeArchive(dir fs.Dir) error {
	var m storeMeta
	err := meta.Read(dir, storeFile, &m)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !m.Archive:
		return fmt.Errorf("%w archive directory: it has a store", ErrInvalid)
	case m.Store != s.file.data.Store:
		return fmt.Errorf("%w archive directory: it is of another store, %s", ErrInvalid, m.Store)
	default:
		return nil
	}
	found, err := dir.List(".")
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Name != topicsDir && e.Name != storeFile+".tmp" { // what a crash may have left
			return fmt.Errorf("%w archive directory: it is not empty, it has %s", ErrInvalid, naming.Shorten(e.Name))
		}
	}
	if err = makeDir(dir, topicsDir); err != nil {
		return err
	}
	return meta.Write(dir, storeFile, &storeMeta{Format: meta.Format, Store: s.file.data.Store, Archive: true})
}

// makeArchived makes the topic's directory in an archive, unless it is there.
func (t *Topic) makeArchived(dir fs.Dir) error {
	topics := dir.Sub(topicsDir)
	if err := makeDir(topics, t.name); err != nil {
		return err
	}
	own := topics.Sub(t.name)
	var m topicMeta
	err := meta.Read(own, topicFile, &m)
	if err == nil && m.Topic != t.id {
		return fmt.Errorf("%w archive directory: it has another topic of that name, %s", ErrInvalid, m.Topic)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err = makeDir(own, partitionsDir); err != nil {
		return err
	}
	st := t.state.Load()
	c := st.config
	c.Durability = OS // all that is there can be read: nobody is writing it
	c.Retention = Retention{}.withDefaults()
	c.HoldBack, c.holdBackStored, c.Archive, c.archiverStored = nil, false, Archive{}, false
	return meta.Write(own, topicFile, &topicMeta{
		Format: meta.Format, Name: t.name, Topic: t.id, Config: settingsOf(c),
		Generations: []generation{{len(t.parts), st.placement}},
	})
}

// makeDir makes a directory in another one, durably, unless it is there.
func makeDir(in fs.Dir, name string) error {
	if err := in.Mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return in.Sync(".")
}
