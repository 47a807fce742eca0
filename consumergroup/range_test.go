package consumergroup

import "testing"

// Those that name a topic topic1 or t1 are from Kafka's RangeAssignorTest.
func TestRange(t *testing.T) {
	for name, c := range map[string]assignCase{
		"6 over 2": {"t:6", []string{"c1", "c2"}, "c1 t/0 t/1 t/2, c2 t/3 t/4 t/5"},
		"6 over 3": {"t:6", []string{"c1", "c2", "c3"}, "c1 t/0 t/1, c2 t/2 t/3, c3 t/4 t/5"},
		"6 over 6": {"t:6", []string{"c1", "c2", "c3", "c4", "c5", "c6"}, "c1 t/0, c2 t/1, c3 t/2, c4 t/3, c5 t/4, c6 t/5"},
		"6 over 8": {"t:6", []string{"c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"}, "c1 t/0, c2 t/1, c3 t/2, c4 t/3, c5 t/4, c6 t/5, c7, c8"},
		"three static, one dynamic": {"t:5 u:4", []string{"c4", "c3=i3", "c2=i2", "c1=i1"},
			"c1 t/0 t/1 u/0, c2 t/2 u/1, c3 t/3 u/2, c4 t/4 u/3"},

		"mixed topics": {"topic1:3 topic2:2", []string{"consumer1 wants topic1", "consumer2 wants topic1 topic2", "consumer3 wants topic1"},
			"consumer1 topic1/0, consumer2 topic1/1 topic2/0 topic2/1, consumer3 topic1/2"},
		"two topics, six partitions": {"topic1:3 topic2:3", []string{"consumer1", "consumer2"},
			"consumer1 topic1/0 topic1/1 topic2/0 topic2/1, consumer2 topic1/2 topic2/2"},
		"two static consumers": {"topic1:3 topic2:3", []string{"consumer-b=instance1", "consumer-a=instance2"},
			"consumer-a topic1/2 topic2/2, consumer-b topic1/0 topic1/1 topic2/0 topic2/1"},
		"one static and one dynamic consumer": {"topic1:3 topic2:3", []string{"consumer-b=instance1", "consumer-a"},
			"consumer-a topic1/2 topic2/2, consumer-b topic1/0 topic1/1 topic2/0 topic2/1"},
		"static members stay when a dynamic one is replaced": {"topic1:5 topic2:4",
			[]string{"consumer1=instance1", "consumer2=instance2", "consumer3=instance3", "consumer5"},
			"consumer1 topic1/0 topic1/1 topic2/0, consumer2 topic1/2 topic2/1, consumer3 topic1/3 topic2/2, consumer5 topic1/4 topic2/3"},
		"static members": {"topic1:5 topic2:5", []string{"consumer1=instance1", "consumer2=instance2", "consumer3=instance3"},
			"consumer1 topic1/0 topic1/1 topic2/0 topic2/1, consumer2 topic1/2 topic1/3 topic2/2 topic2/3, consumer3 topic1/4 topic2/4"},
		"static members stay when their ids change": {"topic1:5 topic2:5", []string{"consumer1=instance1", "consumer5=instance2", "consumer4=instance3"},
			"consumer1 topic1/0 topic1/1 topic2/0 topic2/1, consumer4 topic1/4 topic2/4, consumer5 topic1/2 topic1/3 topic2/2 topic2/3"},
		"uniform subscription": {"t1:6 t2:7 t3:2", []string{"c0", "c1", "c2"},
			"c0 t1/0 t1/1 t2/0 t2/1 t2/2 t3/0, c1 t1/2 t1/3 t2/3 t2/4 t3/1, c2 t1/4 t1/5 t2/5 t2/6"},
		"non equal subscription": {"t1:6 t2:7 t3:2", []string{"c0", "c1", "c2 wants t1 t3"},
			"c0 t1/0 t1/1 t2/0 t2/1 t2/2 t2/3 t3/0, c1 t1/2 t1/3 t2/4 t2/5 t2/6 t3/1, c2 t1/4 t1/5"},
		"uniform partitions": {"t1:5 t2:5 t3:5", []string{"c0", "c1", "c2"},
			"c0 t1/0 t1/1 t2/0 t2/1 t3/0 t3/1, c1 t1/2 t1/3 t2/2 t2/3 t3/2 t3/3, c2 t1/4 t2/4 t3/4"},
		"uniform partitions, non equal subscription": {"t1:5 t2:5 t3:5", []string{"c0", "c1", "c2 wants t1 t3"},
			"c0 t1/0 t1/1 t2/0 t2/1 t2/2 t3/0 t3/1, c1 t1/2 t1/3 t2/3 t2/4 t3/2 t3/3, c2 t1/4 t3/4"},
		"copartitioning": {"t1:6 t2:6 t3:2 t4:2", []string{"c0 wants t1 t2", "c1 wants t1 t2", "c2 wants t3 t4", "c3 wants t3 t4"},
			"c0 t1/0 t1/1 t1/2 t2/0 t2/1 t2/2, c1 t1/3 t1/4 t1/5 t2/3 t2/4 t2/5, c2 t3/0 t4/0, c3 t3/1 t4/1"},
		"copartitioning, all want all": {"t1:6 t2:6 t3:2 t4:2", []string{"c0", "c1", "c2", "c3"},
			"c0 t1/0 t1/1 t2/0 t2/1 t3/0 t4/0, c1 t1/2 t1/3 t2/2 t2/3 t3/1 t4/1, c2 t1/4 t2/4, c3 t1/5 t2/5"},
		"copartitioning with the same subscription": {"t1:6 t2:6 t3:2 t4:2 t5:4 t6:4", []string{"c0", "c1", "c2"},
			"c0 t1/0 t1/1 t2/0 t2/1 t3/0 t4/0 t5/0 t5/1 t6/0 t6/1, c1 t1/2 t1/3 t2/2 t2/3 t3/1 t4/1 t5/2 t6/2, c2 t1/4 t1/5 t2/4 t2/5 t5/3 t6/3"},
	} {
		t.Run(name, func(t *testing.T) { c.run(t, Range()) })
	}
}
