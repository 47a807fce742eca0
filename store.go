package braidlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog/consumergroup"
	"github.com/braidlog/braidlog/internal/clock"
	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/naming"
	"github.com/braidlog/braidlog/internal/relay"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
)

// Names in a store's directory.
const (
	lockFile       = "LOCK"
	storeFile      = "store.json"
	checkpointFile = "checkpoint"
	topicsDir      = "topics"
)

// openAtOnce is how many partitions are opened or closed side by side.
const openAtOnce = 16

// A Store is an open directory of topics. One Store at a time has a
// directory, in this process or any other. Its methods may be called from
// many goroutines.
type Store struct {
	dir    fs.Dir            // immutable
	lock   io.Closer         // immutable
	shared *partition.Shared // immutable
	cfg    Options           // immutable

	keeper keeper

	log      *relay.Relay[Event] // immutable; to cfg.Logger, nil without one
	callback *relay.Relay[Event] // immutable; to cfg.OnEvent, nil without one
	recovery Recovery            // immutable once Open returned

	ledger *consumergroup.Ledger // immutable once Open returned; what groups remember
	groups coordinators

	file     epochFile
	vouchers map[vouch]*partition.Checkpoint // as loaded; changed by Close only

	mu     yield.Mutex       // held while topics are made, changed or deleted, I/O included; never taken by appends or reads
	topics map[string]*Topic // guarded by mu; by name
	broken map[string]error  // guarded by mu; topics that could not be opened
	closed bool              // guarded by mu

	// With ReadOnly:
	retired []*Topic // guarded by mu; those that somebody else deleted
	marks   marks
}

// epochFile is what the store knows of store.json and of the checkpoint.
type epochFile struct {
	mu       yield.Mutex // held while store.json is written
	data     storeMeta
	begun    bool // the epoch was raised since Open
	ended    bool // guarded by mu; the store is closed: nothing is written any more
	settled  bool // guarded by mu; every partition is past what a power cut can have taken
	reverted bool // guarded by mu; a sync failed: what readers saw may be gone without a power cut
	sameBoot bool // immutable: the machine did not restart since it was last raised, and no sync failed
	vouched  bool // immutable: the checkpoint is of this epoch
}

type storeMeta struct {
	Format int     `json:"format"`
	Store  meta.ID `json:"store"`
	Epoch  uint32  `json:"epoch"`
	Boot   string  `json:"boot"`
	// Archive says that segments are moved here by another store: it may be
	// read, and not be opened for writing.
	Archive bool `json:"archive,omitempty"`
}

// Check implements meta.Checker.
func (m *storeMeta) Check() error {
	if m.Store == (meta.ID{}) {
		return errors.New("it names no store")
	}
	return nil
}

type checkpointMeta struct {
	Format     int              `json:"format"`
	Epoch      uint32           `json:"epoch"`
	Partitions []checkpointLine `json:"partitions"`
}

// Check implements meta.Checker.
func (m *checkpointMeta) Check() error {
	if m.Partitions == nil {
		return errors.New("it has no partitions")
	}
	return nil
}

type checkpointLine struct {
	Topic     meta.ID `json:"topic"`
	Partition int     `json:"partition"`
	End       int64   `json:"end"`
	Segment   int64   `json:"segment"`
	Position  int64   `json:"position"`
	Time      int64   `json:"time"`
}

// UnmarshalJSON refuses a line that names no topic: a file of such lines would
// take many times its length in memory.
func (l *checkpointLine) UnmarshalJSON(b []byte) error {
	type plain checkpointLine
	if err := json.Unmarshal(b, (*plain)(l)); err != nil {
		return err
	}
	if l.Topic == (meta.ID{}) {
		return errors.New("a partition of no topic")
	}
	return nil
}

// Open opens the store in the directory dir, making both if they are missing,
// and recovers every topic in it. ErrLocked, with a *LockedError, says who has
// it open. ErrNewerFormat says that a newer braidlog wrote it, ErrPartialBackup
// that it is what is left of a Backup that did not end, ErrReadOnly that it is
// an archive, which only ReadOnly opens. With ReadOnly nothing is made or
// recovered: a directory that is missing or has no store in it is
// fs.ErrNotExist of package io/fs.
func Open(dir string, o Options) (*Store, error) {
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, known(err))
	}
	return s, nil
}

func open(path string, o Options) (s *Store, err error) {
	if path == "" {
		return nil, fmt.Errorf("%w directory: \"\"", ErrInvalid)
	}
	if o.fs == nil {
		o.fs = fs.OS{}
	}
	if o.newID == nil {
		o.newID = meta.NewID
	}
	if o.ReadOnly {
		o.fs = fs.OnlyReading(o.fs)
	}
	if o.clock == nil {
		o.clock = clock.Start()
	}
	s = &Store{cfg: o, log: newLog(o.Logger), topics: map[string]*Topic{}, broken: map[string]error{}}
	s.keeper.kick = make(chan struct{}, 1)
	s.keeper.ctx, s.keeper.stop = context.WithCancel(context.Background())
	s.callback = newCallback(o.OnEvent, s.log, o.clock)
	s.shared, err = partition.NewShared(partition.SharedOptions{
		FS: o.fs, MaxOpenFiles: o.MaxOpenFiles, Begin: s.begin, SyncFailed: s.forgetBoot, Clock: o.clock, NewID: o.newID, ForceHeap: o.forceHeap,
	})
	if err != nil {
		return nil, err
	}
	if o.onShared != nil {
		o.onShared(s.shared)
	}
	if s.dir, err = o.fs.OpenDir(path, !o.ReadOnly); err != nil {
		return nil, err
	}
	if s.lock, err = s.takeLock(); err != nil {
		return nil, errors.Join(err, s.dir.Close())
	}
	if err = s.load(); err != nil {
		err = errors.Join(err, s.closeLogs())
		s.shared.Close()
		s.log.Close()
		return nil, errors.Join(err, s.lock.Close(), s.dir.Close())
	}
	s.callback.Start()
	if !o.idle && !o.ReadOnly {
		s.startKeeper()
	}
	return s, nil
}

// takeLock makes the directory this store's to write.
func (s *Store) takeLock() (io.Closer, error) {
	if s.cfg.ReadOnly {
		return noLock{}, nil
	}
	if err := s.refuseArchive(); err != nil {
		return nil, err
	}
	return s.dir.Lock(lockFile, fmt.Sprintf("pid %d", fs.PID()))
}

// load reads everything that is in the directory.
func (s *Store) load() error {
	if err := s.refusePartial(); err != nil {
		return err
	}
	fresh, err := s.loadStoreFile()
	if err != nil {
		return err
	}
	if fresh {
		s.openLedger()
		return s.settle()
	}
	vouchers, err := s.loadCheckpoint()
	s.vouchers = vouchers
	if err != nil {
		return err
	}
	s.openLedger() // first: what groups committed tells what topics had
	if err = s.loadTopics(vouchers); err != nil {
		return err
	}
	s.recovery = s.found()
	return s.settle()
}

// loadStoreFile reads store.json, or makes the files of a new store. store.json
// comes last: as long as it is missing there is nothing in the directory.
func (s *Store) loadStoreFile() (fresh bool, err error) {
	f := &s.file
	err = meta.Read(s.dir, storeFile, &f.data)
	if err == nil && f.data.Archive && !s.cfg.ReadOnly { // what refuseArchive could not read
		return false, fmt.Errorf("%w: it is an archive", ErrReadOnly)
	}
	if err == nil {
		boot := s.cfg.fs.BootID()
		f.sameBoot = boot != "" && boot == f.data.Boot
		return false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if s.cfg.ReadOnly {
		return false, fmt.Errorf("there is no store: %w", err)
	}
	for _, name := range []string{topicsDir, groupsDir} {
		left, err := s.dir.List(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if len(left) > 0 {
			return false, fmt.Errorf("%w: %s is missing, but there are %s", ErrCorrupt, storeFile, name)
		}
	}
	if err = s.dir.Mkdir(topicsDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	if err = s.dir.Sync("."); err != nil {
		return false, err
	}
	f.data = storeMeta{Format: meta.Format, Store: s.cfg.newID(), Boot: s.cfg.fs.BootID()}
	return true, meta.Write(s.dir, storeFile, &f.data)
}

// begin raises the epoch, durably, before anything is changed: from then on
// an older checkpoint no longer says where partitions end.
func (s *Store) begin() (epoch uint32, err error) {
	if s.cfg.ReadOnly {
		return 0, ErrReadOnly
	}
	f := &s.file
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.begun:
		return f.data.Epoch, nil
	case f.ended: // an append came before the partition was closed, and got here behind that
		return 0, fmt.Errorf("store is %w", ErrClosed)
	}
	next := f.data
	next.Epoch++
	next.Boot = s.boot()
	err = meta.Write(s.dir, storeFile, &next)
	if fs.IsNoSpace(err) && !f.vouched {
		// No checkpoint is of this epoch, so none can be believed too long. A
		// disk that was filled must not keep recovery from giving back what it
		// reserved there.
		s.warn("", "the epoch could not be raised, and is as soon as there is space", err)
		return f.data.Epoch, nil
	}
	if err != nil {
		return 0, fmt.Errorf("raise the epoch: %w", err)
	}
	f.data, f.begun = next, true
	return next.Epoch, nil
}

// boot returns the boot id to be stored. As long as some partition may still
// give out offsets that a power cut took, and once a sync failed, it is "": if
// the process ends now, the next open must not take what it finds for what this
// boot wrote. The caller holds s.file.mu.
func (s *Store) boot() string {
	if !s.file.settled || s.file.reverted {
		return ""
	}
	return s.cfg.fs.BootID()
}

// forgetBoot is told that a sync failed below level Sync. The kernel may have
// thrown away what readers saw, so the next open has to skip as after a power
// cut. That is made durable here and now: who hears of the failure may end the
// process.
func (s *Store) forgetBoot() {
	f := &s.file
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.reverted {
		f.reverted = true
		s.storeNoBootLocked()
	}
}

// storeNoBootLocked takes the boot id out of store.json. If that fails it is told
// and no more: what failed before is what matters to the caller. The caller
// holds s.file.mu.
func (s *Store) storeNoBootLocked() {
	f := &s.file
	if f.data.Boot == "" {
		return
	}
	next := f.data // the epoch too: a checkpoint is as good as it was
	next.Boot = ""
	if err := meta.Write(s.dir, storeFile, &next); err != nil {
		s.warn("", "the boot could not be forgotten after a failed sync", err)
		return
	}
	f.data.Boot = "" // and nothing else: the store's id is read without the lock
}

// settle is called when all partitions were opened.
func (s *Store) settle() error {
	f := &s.file
	f.mu.Lock() // a partition that was opened may be writing its marker
	defer f.mu.Unlock()
	f.settled = !s.unsettled()
	if !f.begun || f.data.Boot == s.boot() {
		return nil
	}
	next := f.data
	next.Boot = s.boot()
	err := meta.Write(s.dir, storeFile, &next)
	if fs.IsShort(err) {
		s.warn("", "an unclean end will leave gaps: the boot could not be stored", err)
		return nil
	}
	if err != nil {
		return err
	}
	f.data = next
	return nil
}

// unsettled reports whether a partition could not be opened, or is damaged
// where it goes on.
func (s *Store) unsettled() bool {
	if len(s.broken) > 0 {
		return true
	}
	for _, t := range s.topics {
		for _, p := range t.parts {
			if !p.Writable() {
				return true
			}
		}
	}
	return false
}

// oldMarks returns what the checkpoint before said of partitions of which
// this one has nothing to say, since they failed or could not be opened:
// everything below that end is still known to have been durable. Where they
// end is not, so the position is left out.
func (s *Store) oldMarks() (lines []checkpointLine) {
	for v, c := range s.vouchers {
		deleted := len(s.broken) == 0 && v != groupsVouch
		for _, t := range s.topics {
			deleted = deleted && t.id != v.topic
		}
		if !deleted {
			lines = append(lines, checkpointLine{Topic: v.topic, Partition: v.partition, End: c.End})
		}
	}
	return lines
}

// A vouch is what names a partition in a checkpoint.
type vouch struct {
	topic     meta.ID
	partition int
}

func (v vouch) line(c partition.Checkpoint) checkpointLine {
	return checkpointLine{v.topic, v.partition, c.End, c.Segment, c.Position, c.Time}
}

// loadCheckpoint reads where the partitions ended. A checkpoint that is
// damaged vouches for nothing.
func (s *Store) loadCheckpoint() (map[vouch]*partition.Checkpoint, error) {
	var c checkpointMeta
	err := meta.Read(s.dir, checkpointFile, &c)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, meta.ErrCorrupt):
		s.warn("", "the checkpoint is damaged and not used", err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	s.file.vouched = c.Epoch == s.file.data.Epoch
	vouchers := make(map[vouch]*partition.Checkpoint, len(c.Partitions))
	for _, l := range c.Partitions {
		vouchers[vouch{l.Topic, l.Partition}] = &partition.Checkpoint{
			End: l.End, Segment: l.Segment, Position: l.Position, Time: l.Time,
		}
	}
	return vouchers, nil
}

// loadTopics opens every topic. One that cannot be opened keeps its error and
// does not keep the store shut.
func (s *Store) loadTopics(vouchers map[vouch]*partition.Checkpoint) error {
	if s.cfg.ReadOnly {
		return s.findTopicsLocked() // nobody else has the store yet
	}
	// If a process ended before it synced the names, only the page cache is
	// sure to have them. From here on they are relied on.
	if err := s.dir.Sync(topicsDir); err != nil {
		return err
	}
	names, err := s.dir.List(topicsDir)
	if err != nil {
		return err
	}
	for _, e := range names {
		if strings.HasPrefix(e.Name, newPrefix) || strings.HasPrefix(e.Name, deletedPrefix) {
			if err = fs.RemoveAll(s.dir, topicsDir+"/"+e.Name); err != nil {
				s.warn("", "what is left of a topic could not be removed", err) // it costs space only
			}
			continue
		}
		if checkName(e.Name) != nil || e.Kind == fs.KindFile {
			continue // not ours
		}
		t, err := s.loadTopic(e, vouchers)
		if err != nil {
			err = fmt.Errorf("open topic %s: %w", e.Name, known(err))
			s.warn(e.Name, "a topic could not be opened", err)
			s.broken[e.Name] = err
			continue
		}
		s.topics[e.Name] = t
	}
	return nil
}

// EnsureTopic returns the topic, making it if it does not exist. If it does,
// what config says is compared and changed as SetConfig would. With ReadOnly
// both are ErrReadOnly.
func (s *Store) EnsureTopic(ctx context.Context, name string, config TopicConfig) (*Topic, error) {
	defer s.groups.refresh() // without s.mu
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ctx, "ensure topic", name); err != nil {
		return nil, err
	}
	s.findTopicLocked(name)
	t, err := s.findLocked(name)
	switch {
	case errors.Is(err, ErrTopicNotFound):
		return s.createLocked(name, config)
	case err != nil:
		return nil, err
	}
	if err = t.setConfig(ctx, config); err != nil {
		return nil, err
	}
	return t, nil
}

// CreateTopic makes a new topic. ErrTopicExists if the name is taken, also by
// one that differs only in case.
func (s *Store) CreateTopic(ctx context.Context, name string, config TopicConfig) (*Topic, error) {
	defer s.groups.refresh() // without s.mu
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ctx, "create topic", name); err != nil {
		return nil, err
	}
	if s.cfg.ReadOnly {
		return nil, fmt.Errorf("create topic %s: %w", name, ErrReadOnly)
	}
	if _, err := s.findLocked(name); !errors.Is(err, ErrTopicNotFound) {
		return nil, fmt.Errorf("create topic %s: %w", name, ErrTopicExists)
	}
	return s.createLocked(name, config)
}

// Topic returns a topic that exists. ErrTopicNotFound if it does not. With
// ReadOnly it is looked for on disk: somebody else may have made or deleted it.
func (s *Store) Topic(name string) (*Topic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("topic %s: store is %w", name, ErrClosed)
	}
	s.findTopicLocked(name)
	return s.findLocked(name)
}

// findLocked returns a topic or why there is none.
func (s *Store) findLocked(name string) (*Topic, error) {
	if t := s.topics[name]; t != nil {
		return t, nil
	}
	if err := s.broken[name]; err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("topic %s: %w", naming.Shorten(name), ErrTopicNotFound)
}

// check does what all operations on topics begin with.
func (s *Store) check(ctx context.Context, op, name string) error {
	err := checkContext(ctx)
	if err == nil && s.closed {
		err = fmt.Errorf("store is %w", ErrClosed)
	}
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, naming.Shorten(name), err)
	}
	return nil
}

func checkContext(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("%w context: nil", ErrInvalid)
	}
	return ctx.Err()
}

// Topics returns the names of all topics, sorted. With ReadOnly they are those
// on disk; if the disk fails, those known before.
func (s *Store) Topics() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.ReadOnly && !s.closed {
		s.findTopicsLocked() // #nosec G104 -- see above
	}
	names := make([]string, 0, len(s.topics)+len(s.broken))
	for name := range s.topics {
		names = append(names, name)
	}
	for name := range s.broken {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// DeleteTopic closes a topic and removes it with all its records. It is gone
// once the call returns, and after a crash in the middle either there whole or
// gone.
func (s *Store) DeleteTopic(ctx context.Context, name string) error {
	defer s.groups.refresh() // without s.mu
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(ctx, "delete topic", name); err != nil {
		return err
	}
	if s.cfg.ReadOnly {
		return fmt.Errorf("delete topic %s: %w", name, ErrReadOnly)
	}
	t, err := s.findLocked(name)
	if errors.Is(err, ErrTopicNotFound) {
		return fmt.Errorf("delete %w", err)
	}
	if err = s.deleteLocked(t, name); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, known(err))
	}
	if t != nil { // of one that could not be opened nobody knows the id
		s.forgetTopic(ctx, t)
	}
	return nil
}

func (s *Store) deleteLocked(t *Topic, name string) error {
	// The epoch is not raised: that takes space, which a deletion is to free,
	// and a checkpoint that names a topic that is gone says nothing.
	gone := topicsDir + "/" + deletedPrefix + s.cfg.newID().Short()
	if t != nil {
		// What cannot be made durable any more goes with the topic. A failure
		// for good is told by the partition itself.
		if err := t.close(); err != nil && !errors.Is(err, ErrFailed) && !errors.Is(err, ErrOutcomeUnknown) {
			s.warn(name, "a topic that is being deleted could not be closed well", err)
		}
	}
	delete(s.topics, name)
	s.broken[name] = fmt.Errorf("topic %s: half deleted; open the store again", name)
	if err := s.dir.Rename(topicsDir+"/"+name, gone); err != nil {
		return err
	}
	if err := s.dir.Sync(topicsDir); err != nil {
		return err
	}
	delete(s.broken, name)
	if err := fs.RemoveAll(s.dir, gone); err != nil {
		s.warn(name, "what is left of a topic could not be removed", err) // the next Open tries again
	}
	return nil
}

// Close makes everything durable, whatever the level, writes where each
// partition ended, and lets the directory go. Waiting readers get ErrClosed.
// It returns when Options.OnEvent was told of everything that happened. A
// second Close returns ErrClosed.
func (s *Store) Close() error {
	err := s.close()
	s.callback.Close() // without s.mu: it may be asking for a topic
	s.log.Close()
	return err
}

func (s *Store) close() error {
	s.keeper.end()
	s.groups.closeAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("close store: %w", ErrClosed)
	}
	s.closed = true
	err := s.closeLogs()
	s.shared.Close()
	s.endFile()
	if !s.cfg.ReadOnly {
		err = errors.Join(err, s.writeCheckpoint())
	}
	if err = errors.Join(err, s.lock.Close(), s.dir.Close()); err != nil {
		return fmt.Errorf("close store: %w", known(err))
	}
	return nil
}

// closeLogs closes the partitions of all topics and the groups log, side by
// side.
func (s *Store) closeLogs() error {
	var g errgroup.Group
	g.SetLimit(openAtOnce)
	var errs []error
	var mu sync.Mutex
	closes := func(log io.Closer) {
		g.Go(func() error {
			yield.Woken()
			if err := log.Close(); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			return nil
		})
	}
	if s.ledger != nil {
		closes(s.ledger)
	}
	for _, t := range append(slices.Collect(maps.Values(s.topics)), s.retired...) {
		for _, p := range t.parts {
			closes(p)
		}
	}
	err := g.Wait()
	yield.Woken()
	return errors.Join(err, errors.Join(errs...))
}

// endFile keeps begin from changing anything, and waits for one that does: who
// opens the directory next has store.json to himself. A boot that could not be
// forgotten is forgotten now, if that is possible by now.
func (s *Store) endFile() {
	f := &s.file
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reverted {
		s.storeNoBootLocked()
	}
	f.ended = true
}

// writeCheckpoint writes where every partition ended that was closed well. If
// nothing was written since the last one, that one stays. It holds after a failed
// sync too: a partition that failed has no position in it and skips at the next
// open, and the others made durable all that anybody saw in them.
func (s *Store) writeCheckpoint() error {
	f := &s.file
	if f.vouched && !f.begun {
		return nil
	}
	c := checkpointMeta{Format: meta.Format, Epoch: f.data.Epoch, Partitions: []checkpointLine{}}
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		t := s.topics[name]
		for i, p := range t.parts {
			if end, ok := p.Checkpoint(); ok {
				v := vouch{t.id, i}
				c.Partitions = append(c.Partitions, v.line(end))
				delete(s.vouchers, v)
			}
		}
	}
	if end, ok := s.ledger.Partition().Checkpoint(); ok {
		c.Partitions = append(c.Partitions, groupsVouch.line(end))
		delete(s.vouchers, groupsVouch)
	}
	c.Partitions = append(c.Partitions, s.oldMarks()...)
	return meta.Write(s.dir, checkpointFile, &c)
}
