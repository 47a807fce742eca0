package braidlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/naming"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// partialFile is in a directory for as long as a backup is being made there.
const partialFile = "backup.partial"

// partialText is for whoever looks into it.
const partialText = "A backup was begun here and did not end. Nothing in this directory is of use.\n"

// Backup makes a copy of the store in the directory dir, which opens as a
// store of its own. dir is made if it is missing, and must be empty, and not in
// the store. Appends and reads go on meanwhile.
//
// The copy is of one moment soon after the call: it has all that was
// acknowledged by then, at any level, of all topics; and if it has a record, it
// has everything that was acknowledged before that one's append began. So what
// groups committed is in it, and the records that they had read by then. When
// Backup returns nil it is on disk. What retention or a trim removes while it
// is being made may be missing.
//
// Where the file system can, sealed segments share their disk space with the
// store's: as clones (Btrfs, XFS), or on other file systems of Linux as second
// names of the same files, which also share what damages them later; across
// disks, and elsewhere, they are copied.
//
// The copy is a store of its own, with an id of its own: the two go different
// ways from there. So it cannot archive into the directory that the store
// archives to, though its topics have all their settings, Archive.Dir among
// them: give it another one.
//
// After an error, ctx's too, what was made is removed again. After a crash,
// and if even that failed, Open refuses the directory with ErrPartialBackup;
// remove it. A topic that is deleted meanwhile, or a partition that could not
// be opened or failed, fails the backup; damaged ones are copied with their
// damage. ErrInvalid says that dir cannot be used, ErrClosed that the store was
// closed, ErrReadOnly that it was opened with ReadOnly: let the process that
// writes it make the backup.
func (s *Store) Backup(ctx context.Context, dir string) error {
	if err := s.backUp(ctx, dir); err != nil {
		return fmt.Errorf("back up store to %s: %w", dir, known(err))
	}
	return nil
}

func (s *Store) backUp(ctx context.Context, path string) error {
	if err := s.mayBackUp(ctx, path); err != nil {
		return err
	}
	b, err := s.beginBackup(path)
	if err == nil {
		err = b.fill(ctx)
	}
	if err == nil {
		err = b.finish()
	}
	if err != nil {
		return errors.Join(err, b.undo())
	}
	b.dir.Close() // #nosec G104 -- nothing is written through it
	return nil
}

// mayBackUp returns why there cannot be a backup at path, nil if there may.
func (s *Store) mayBackUp(ctx context.Context, path string) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	if path == "" {
		return fmt.Errorf("%w directory: \"\"", ErrInvalid)
	}
	if s.cfg.ReadOnly { // its writer would not wait while segments are copied
		return ErrReadOnly
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("store is %w", ErrClosed)
	}
	inside, err := s.dir.Holds(path)
	if err == nil && inside {
		err = fmt.Errorf("%w directory: it is in the store", ErrInvalid)
	}
	return err
}

// A backup is one that is being made. It belongs to one goroutine.
type backup struct {
	store  *Store
	path   string
	dir    fs.Dir // nil if it could not be opened
	made   string // the highest directory of path that was not there before; "": all were
	marked bool   // partialFile is there and ours
	filled bool   // what else is there may be ours too
}

// beginBackup makes an empty directory that does not open. After an error the
// caller calls undo all the same.
func (s *Store) beginBackup(path string) (*backup, error) {
	b := &backup{store: s, path: path}
	err := b.findMissing()
	if err == nil {
		b.dir, err = s.cfg.fs.OpenDir(path, true)
	}
	if err == nil {
		err = b.wantEmpty()
	}
	if err == nil {
		err = b.mark()
	}
	if err == nil {
		// Whoever came at the same time, to open a store or with a backup of
		// his own, left something before he looked for the mark.
		err = b.wantEmpty()
	}
	return b, err
}

// findMissing finds out what will be made for path to be there.
func (b *backup) findMissing() error {
	for path := filepath.Clean(b.path); ; path = filepath.Dir(path) {
		dir, err := b.store.cfg.fs.OpenDir(path, false)
		if err == nil {
			return dir.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return err
		}
		b.made = path
	}
}

// wantEmpty returns an error if anything but our mark is in the directory.
func (b *backup) wantEmpty() error {
	found, err := b.dir.List(".")
	if err != nil {
		return err
	}
	for _, e := range found {
		switch {
		case e.Name != partialFile:
			return fmt.Errorf("%w directory: it is not empty, it has %s", ErrInvalid, naming.Shorten(e.Name))
		case !b.marked:
			return fmt.Errorf("%w directory: it has %w", ErrInvalid, ErrPartialBackup)
		}
	}
	return nil
}

// mark keeps the directory from being opened, durably.
func (b *backup) mark() error {
	f, err := b.dir.Create(partialFile)
	if err != nil {
		return err
	}
	b.marked = true
	_, err = f.WriteAt([]byte(partialText), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return b.dir.Sync(".")
}

// refusePartial returns an error if the directory has an unfinished backup.
func (s *Store) refusePartial() error {
	f, err := s.dir.Open(partialFile, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return errors.Join(fmt.Errorf("%w: there is %s", ErrPartialBackup, partialFile), f.Close())
}

// A moment is the store at the moment of which the copy is.
type moment struct {
	topics []*frozen           // sorted by name
	groups *partition.Snapshot // the groups log
	file   storeMeta           // store.json
}

// A frozen is a topic at that moment.
type frozen struct {
	meta  *topicMeta
	parts []*partition.Snapshot
	ends  []*checkpointLine // filled as the partitions are copied; nil: nothing to say
}

// freeze returns the store as it is at one moment.
func (s *Store) freeze() (*moment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("store is %w", ErrClosed)
	}
	for _, name := range slices.Sorted(maps.Keys(s.broken)) {
		return nil, s.broken[name]
	}
	m := &moment{}
	var parts []*partition.Partition
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		t := s.topics[name]
		st := t.state.Load()
		m.topics = append(m.topics, &frozen{meta: t.meta(st.config, st.placement), ends: make([]*checkpointLine, len(t.parts))})
		parts = append(parts, t.parts...)
	}
	all := partition.Freeze(append(parts, s.ledger.Partition()))
	for _, t := range m.topics {
		n := len(t.ends)
		t.parts, all = all[:n], all[n:]
	}
	m.groups = all[0]
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	m.file = s.file.data
	return m, nil
}

// fill puts everything in the directory, durably.
func (b *backup) fill(ctx context.Context) error {
	// A snapshot of the groups log would have what it replaces trimmed, and so
	// the whole copy.
	release, err := b.store.ledger.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	m, err := b.store.freeze()
	if err != nil {
		return err
	}
	b.filled = true
	c := checkpointMeta{Format: meta.Format, Epoch: m.file.Epoch, Partitions: []checkpointLine{}}
	if err = b.copyPartitions(ctx, m.topics); err != nil {
		return err
	}
	end, ok, err := m.groups.Copy(ctx, b.dir, groupsDir)
	if err != nil {
		return err
	}
	if ok {
		c.Partitions = append(c.Partitions, groupsVouch.line(end))
	}
	for _, t := range m.topics {
		if err = checkContext(ctx); err == nil {
			err = t.write(b.dir)
		}
		if err != nil {
			return err
		}
		for _, line := range t.ends {
			if line != nil {
				c.Partitions = append(c.Partitions, *line)
			}
		}
	}
	if err = b.dir.Sync(topicsDir); err != nil {
		return err
	}
	if err = meta.Write(b.dir, checkpointFile, &c); err != nil {
		return err
	}
	// It was written by no boot: nothing of it is in doubt.
	m.file.Store, m.file.Boot = b.store.cfg.newID(), ""
	return meta.Write(b.dir, storeFile, &m.file)
}

// copyPartitions copies the partitions of all topics, side by side.
func (b *backup) copyPartitions(ctx context.Context, topics []*frozen) error {
	err := b.dir.Mkdir(topicsDir)
	for _, t := range topics {
		if err == nil {
			err = b.dir.Mkdir(t.dir())
		}
		if err == nil {
			err = b.dir.Mkdir(t.dir() + "/" + partitionsDir)
		}
	}
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(openAtOnce)
	for _, t := range topics {
		for i := range t.parts {
			g.Go(func() error {
				yield.Woken()
				return t.copyPartition(ctx, b.dir, i)
			})
		}
	}
	err = g.Wait()
	yield.Woken()
	return err
}

// dir returns the topic's directory, as seen from the store's.
func (t *frozen) dir() string { return topicsDir + "/" + t.meta.Name }

func (t *frozen) copyPartition(ctx context.Context, dir fs.Dir, i int) error {
	c, ok, err := t.parts[i].Copy(ctx, dir.Sub(t.dir()+"/"+partitionsDir), strconv.Itoa(i))
	if err == nil && ok {
		line := vouch{t.meta.Topic, i}.line(c)
		t.ends[i] = &line
	}
	return err
}

// write makes the topic a topic, once its partitions are copied.
func (t *frozen) write(dir fs.Dir) error {
	if err := dir.Sync(t.dir() + "/" + partitionsDir); err != nil {
		return err
	}
	return meta.Write(dir.Sub(t.dir()), topicFile, t.meta)
}

// finish lets the directory be opened.
func (b *backup) finish() error {
	if err := b.dir.Remove(partialFile); err != nil {
		return err
	}
	b.marked = false
	return b.dir.Sync(".")
}

// undo removes what was made.
func (b *backup) undo() error {
	err := b.clear()
	if b.dir != nil {
		err = errors.Join(err, b.dir.Close())
	}
	if err == nil && b.made != "" {
		err = b.removeMade()
	}
	if err != nil {
		return fmt.Errorf("remove what was made: %w", err)
	}
	return nil
}

// clear empties the directory, the mark last: at no step is there a part of a
// store that opens.
func (b *backup) clear() error {
	if b.filled && !b.marked { // it could not be removed for good
		if err := b.mark(); err != nil {
			return err
		}
	}
	if b.filled {
		for _, name := range []string{topicsDir, groupsDir, checkpointFile, checkpointFile + ".tmp", storeFile, storeFile + ".tmp"} {
			if err := fs.RemoveAll(b.dir, name); err != nil {
				return err
			}
		}
		if err := b.dir.Sync("."); err != nil {
			return err
		}
	}
	if !b.marked {
		return nil
	}
	if err := b.dir.Remove(partialFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return b.dir.Sync(".")
}

// removeMade removes the directory, and what was made above it.
func (b *backup) removeMade() error {
	for path := filepath.Clean(b.path); ; path = filepath.Dir(path) {
		if err := b.removeDir(path); err != nil || path == b.made {
			return err
		}
	}
}

// removeDir removes a directory that was made, unless there is something in it
// by now that is not ours.
func (b *backup) removeDir(path string) error {
	above, err := b.store.cfg.fs.OpenDir(filepath.Dir(path), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	found, err := above.List(".")
	// A symbolic link that leads nowhere was taken for missing, and is not ours.
	if slices.ContainsFunc(found, func(e fs.Entry) bool { return e.Name == name && e.Kind == fs.KindDir }) {
		err = above.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, above.Close())
}
