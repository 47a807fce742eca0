package braidlog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/braidlog/braidlog/internal/fs"
	"github.com/braidlog/braidlog/internal/meta"
	"github.com/braidlog/braidlog/internal/yield"
	"github.com/braidlog/braidlog/partition"
	"github.com/braidlog/braidlog/partitioner"
)

// Names in a topic's directory, and what the names of topics begin with that
// are not whole.
const (
	topicFile     = "topic.json"
	partitionsDir = "partitions"
	newPrefix     = ".new-"
	deletedPrefix = ".deleted-"
)

type topicMeta struct {
	Format      int          `json:"format"`
	Name        string       `json:"name"`
	Topic       topicID      `json:"topic"`
	Generations []generation `json:"generations"`
	Config      settings     `json:"config"`
}

// A generation is a number of partitions and the placement that goes with it.
// There is one, for now.
type generation struct {
	Partitions int    `json:"partitions"`
	Placement  string `json:"placement"`
}

// settings are those that may change.
type settings struct {
	Durability     string `json:"durability"`
	SyncTime       int64  `json:"sync_time"`
	SyncRecords    int64  `json:"sync_records"`
	SyncBytes      int64  `json:"sync_bytes"`
	SegmentBytes   int64  `json:"segment_bytes"`
	SegmentAge     int64  `json:"segment_age"`
	MaxRecordBytes int    `json:"max_record_bytes"`
	MaxKeyBytes    int    `json:"max_key_bytes"`
	IndexCache     string `json:"index_cache"`

	RetentionAge   int64  `json:"retention_age,omitempty"`
	PartitionBytes int64  `json:"partition_bytes,omitempty"`
	TopicBytes     int64  `json:"topic_bytes,omitempty"`
	Full           string `json:"full,omitempty"`
	HoldBack       bool   `json:"hold_back,omitempty"`
	HoldForGroups  bool   `json:"hold_for_groups,omitempty"`
	HoldBackBytes  int64  `json:"hold_back_bytes,omitempty"`
	HoldBackAge    int64  `json:"hold_back_age,omitempty"`
	Archiver       bool   `json:"archiver,omitempty"`
	ArchiveDir     string `json:"archive_dir,omitempty"`
	Dedup          string `json:"dedup,omitempty"`
	DedupEntries   int    `json:"dedup_entries,omitempty"`
	DedupWindow    int64  `json:"dedup_window,omitempty"`
	HotKeys        int    `json:"hot_keys,omitempty"` // 0: none are counted
}

func settingsOf(c TopicConfig) settings {
	return settings{
		Durability:     c.Durability.String(),
		SyncTime:       int64(c.SyncEvery.Time),
		SyncRecords:    c.SyncEvery.Records,
		SyncBytes:      c.SyncEvery.Bytes,
		SegmentBytes:   c.SegmentBytes,
		SegmentAge:     int64(c.SegmentAge),
		MaxRecordBytes: c.MaxRecordBytes,
		MaxKeyBytes:    c.MaxKeyBytes,
		IndexCache:     c.IndexCache.String(),

		RetentionAge:   int64(c.Retention.Age),
		PartitionBytes: c.Retention.PartitionBytes,
		TopicBytes:     c.Retention.TopicBytes,
		Full:           c.Retention.Full.String(),
		HoldBack:       c.HoldBack != nil || c.holdBackStored,
		HoldForGroups:  c.Retention.Groups == HoldForGroups,
		HoldBackBytes:  c.Retention.HoldBackBytes,
		HoldBackAge:    int64(c.Retention.HoldBackAge),
		Archiver:       c.Archive.To != nil || c.archiverStored,
		ArchiveDir:     c.Archive.Dir,
		Dedup:          c.Dedup.Mode.String(),
		DedupEntries:   c.Dedup.Entries,
		DedupWindow:    int64(c.Dedup.Window),
		HotKeys:        max(0, c.HotKeys),
	}
}

func (s settings) config() (TopicConfig, error) {
	c := TopicConfig{
		SyncEvery:      SyncEvery{Time: time.Duration(s.SyncTime), Records: s.SyncRecords, Bytes: s.SyncBytes},
		SegmentBytes:   s.SegmentBytes,
		SegmentAge:     time.Duration(s.SegmentAge),
		MaxRecordBytes: s.MaxRecordBytes,
		MaxKeyBytes:    s.MaxKeyBytes,
		Retention: Retention{
			Age:            time.Duration(s.RetentionAge),
			PartitionBytes: s.PartitionBytes,
			TopicBytes:     s.TopicBytes,
			HoldBackBytes:  s.HoldBackBytes,
			HoldBackAge:    time.Duration(s.HoldBackAge),
		},
		Archive:        Archive{Dir: s.ArchiveDir},
		Dedup:          Dedup{Entries: s.DedupEntries, Window: time.Duration(s.DedupWindow)},
		HotKeys:        s.HotKeys,
		holdBackStored: s.HoldBack,
		archiverStored: s.Archiver,
	}
	if s.HoldForGroups {
		c.Retention.Groups = HoldForGroups
	}
	var ok [4]bool
	c.Durability, ok[0] = named(s.Durability, Sync, Interval, OS)
	c.IndexCache, ok[1] = named(s.IndexCache, CacheActiveSegment, CacheAll, CacheNone)
	c.Retention.Full, ok[2] = named(s.Full, DeleteOldest, Refuse)
	c.Dedup.Mode, ok[3] = named(s.Dedup, DedupOff, DedupOn, DedupRequired)
	if !ok[0] || !ok[1] || !ok[2] && s.Full != "" || !ok[3] && s.Dedup != "" {
		return c, fmt.Errorf("%w: durability %q, index cache %q, full %q, dedup %q", ErrCorrupt, s.Durability, s.IndexCache, s.Full, s.Dedup)
	}
	return c, nil
}

// named returns the value that is called name.
func named[T fmt.Stringer](name string, values ...T) (value T, ok bool) {
	for _, v := range values {
		if v.String() == name {
			return v, true
		}
	}
	return value, false
}

// A topicID tells a topic from another one of the same name.
type topicID = meta.ID

// createLocked makes a topic under another name and then gives it its own, so
// that it is there whole or not at all. The caller holds s.mu.
func (s *Store) createLocked(name string, config TopicConfig) (*Topic, error) {
	if s.cfg.ReadOnly {
		return nil, fmt.Errorf("create topic %s: %w", name, ErrReadOnly)
	}
	t, err := s.create(name, config)
	if err != nil {
		return nil, fmt.Errorf("create topic %s: %w", name, known(err))
	}
	s.topics[name] = t
	s.keeper.wake()
	return t, nil
}

func (s *Store) create(name string, config TopicConfig) (*Topic, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if err = s.freeName(name); err != nil {
		return nil, err
	}
	if config.Partitioner == nil {
		config.Partitioner = partitioner.Key()
	}
	if err = checkPartitioner(config.Partitioner, config.Partitions); err != nil {
		return nil, err
	}
	placement := partitioner.Placement(config.Partitioner)
	if err = checkPlacement(placement); err != nil {
		return nil, err
	}
	if _, err = s.begin(); err != nil {
		return nil, err
	}
	m := topicMeta{
		Format: meta.Format, Name: name, Topic: s.cfg.newID(), Config: settingsOf(config),
		Generations: []generation{{config.Partitions, placement}},
	}
	if err = s.writeTopic(name, &m); err != nil {
		return nil, err
	}
	t, err := s.openTopic(&m, config, nil, true)
	if err != nil {
		s.broken[name] = fmt.Errorf("topic %s: half made; open the store again", name)
	}
	return t, err
}

// freeName returns ErrTopicExists if the name is taken but for case.
func (s *Store) freeName(name string) error {
	taken := func(other string) bool { return strings.EqualFold(name, other) }
	for other := range s.topics {
		if taken(other) {
			return fmt.Errorf("%w: as %s", ErrTopicExists, other)
		}
	}
	for other := range s.broken {
		if taken(other) {
			return fmt.Errorf("%w: as %s", ErrTopicExists, other)
		}
	}
	return nil
}

func (s *Store) writeTopic(name string, m *topicMeta) error {
	made := topicsDir + "/" + newPrefix + m.Topic.Short()
	err := s.dir.Mkdir(made)
	if err == nil {
		err = s.dir.Mkdir(made + "/" + partitionsDir)
	}
	if err == nil {
		err = meta.Write(s.dir.Sub(made), topicFile, m)
	}
	if err == nil {
		err = s.dir.Rename(made, topicsDir+"/"+name)
	}
	if err != nil {
		return errors.Join(err, fs.RemoveAll(s.dir, made))
	}
	if err = s.dir.Sync(topicsDir); err != nil {
		s.broken[name] = fmt.Errorf("topic %s: half made; open the store again", name)
	}
	return err
}

// loadTopic opens a topic that exists.
func (s *Store) loadTopic(e fs.Entry, vouchers map[vouch]*partition.Checkpoint) (*Topic, error) {
	if e.Kind != fs.KindDir {
		return nil, fs.ErrNotRegular
	}
	dir := s.dir.Sub(topicsDir + "/" + e.Name)
	var m topicMeta
	err := meta.Read(dir, topicFile, &m)
	if !s.cfg.ReadOnly {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %s is missing", ErrCorrupt, topicFile)
		}
		if err == nil {
			err = dir.Sync(".") // the file too may be in the page cache only
		}
	}
	if err != nil {
		return nil, err
	}
	config, err := m.parse(e.Name)
	if err != nil {
		return nil, err
	}
	return s.openTopic(&m, config, vouchers, false)
}

// parse returns what the file of the topic called name says.
func (m *topicMeta) parse(name string) (TopicConfig, error) {
	if m.Name != name || len(m.Generations) != 1 {
		return TopicConfig{}, fmt.Errorf("%s: %w: it is of topic %q and has %d generations", topicFile, ErrCorrupt, m.Name, len(m.Generations))
	}
	config, err := m.Config.config()
	if err != nil {
		return TopicConfig{}, err
	}
	config.Partitions = m.Generations[0].Partitions
	if config, err = config.withDefaults(); err != nil {
		return TopicConfig{}, fmt.Errorf("%s: %w: %v", topicFile, ErrCorrupt, err)
	}
	config.Partitioner, _ = partitioner.ByPlacement(m.Generations[0].Placement)
	return config, nil
}

// openTopic opens the partitions, side by side. One whose disk fails is there
// and fails at everything, unless the topic is new.
func (s *Store) openTopic(m *topicMeta, config TopicConfig, vouchers map[vouch]*partition.Checkpoint, isNew bool) (*Topic, error) {
	t := &Topic{
		store: s, name: m.Name, id: m.Topic, parts: make([]*partition.Partition, config.Partitions),
		keeping: make(chan struct{}, 1), quota: partition.NewQuota(),
	}
	t.ids = newDedup(t.parts, s.shared.Now)
	t.setState(newTopicState(config, m.Generations[0].Placement))
	parent := s.dir.Sub(topicsDir + "/" + m.Name + "/" + partitionsDir)
	var g errgroup.Group
	g.SetLimit(openAtOnce)
	for i := range t.parts {
		g.Go(func() (err error) {
			yield.Woken()
			t.parts[i], err = s.openPartition(t, parent, i, vouchers, isNew)
			return err
		})
	}
	err := g.Wait()
	yield.Woken()
	if err != nil {
		t.parts = slices.DeleteFunc(t.parts, func(p *partition.Partition) bool { return p == nil })
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (s *Store) openPartition(t *Topic, parent fs.Dir, i int, vouchers map[vouch]*partition.Checkpoint, isNew bool) (*partition.Partition, error) {
	o := partition.Options{
		Config:     t.state.Load().config.ofPartition(),
		Topic:      t.name,
		TopicID:    t.id,
		Number:     i,
		Shared:     s.shared,
		Checkpoint: vouchers[vouch{t.id, i}],
		Clean:      s.file.vouched,
		Committed:  s.ledger.Durable(t.id, i),
		SameBoot:   s.file.sameBoot,
		Validate:   s.cfg.Validate,
		Quota:      t.quota,
		OnEvent:    s.notify,
	}
	if s.cfg.ReadOnly {
		o.ReadOnly, o.Archive = true, s.file.data.Archive
		o.Outside = func() (partition.Outside, error) { return t.outside(i) }
	}
	p, err := partition.OpenIn(parent, strconv.Itoa(i), o)
	if err != nil {
		err = known(err)
		if isNew || errors.Is(err, ErrNewerFormat) {
			return nil, err
		}
		s.notify(trouble(s.cfg.clock, t.name, i, "could not be opened", err))
		return partition.Broken(o, err), nil
	}
	return p, nil
}
