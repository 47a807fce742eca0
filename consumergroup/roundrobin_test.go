package consumergroup

import "testing"

// Those that name a topic topic1 are from Kafka's RoundRobinAssignorTest.
func TestRoundRobin(t *testing.T) {
	for name, c := range map[string]assignCase{
		"each wants one more": {"t0:1 t1:2 t2:3", []string{"C0 wants t0", "C1 wants t0 t1", "C2"},
			"C0 t0/0, C1 t1/0, C2 t1/1 t2/0 t2/1 t2/2"},

		"mixed topics": {"topic1:3 topic2:2", []string{"consumer1 wants topic1", "consumer2 wants topic1 topic2", "consumer3 wants topic1"},
			"consumer1 topic1/0, consumer2 topic1/1 topic2/0 topic2/1, consumer3 topic1/2"},
		"two dynamic consumers": {"topic1:3 topic2:3", []string{"consumer1", "consumer2"},
			"consumer1 topic1/0 topic1/2 topic2/1, consumer2 topic1/1 topic2/0 topic2/2"},
		"two static consumers": {"topic1:3 topic2:3", []string{"consumer-b=instance1", "consumer-a=instance2"},
			"consumer-a topic1/1 topic2/0 topic2/2, consumer-b topic1/0 topic1/2 topic2/1"},
		"one static and one dynamic consumer": {"topic1:3 topic2:3", []string{"consumer-b=instance1", "consumer-a"},
			"consumer-a topic1/1 topic2/0 topic2/2, consumer-b topic1/0 topic1/2 topic2/1"},
		"static members stay when a dynamic one is replaced": {"topic1:3 topic2:3",
			[]string{"consumer1=instance1", "consumer2=instance2", "consumer3=instance3", "consumer5"},
			"consumer1 topic1/0 topic2/1, consumer2 topic1/1 topic2/2, consumer3 topic1/2, consumer5 topic2/0"},
		"static members stay when their ids change": {"topic1:3 topic2:3",
			[]string{"consumer4=instance1", "consumer5=instance2", "consumer1=instance3"},
			"consumer1 topic1/2 topic2/2, consumer4 topic1/0 topic2/0, consumer5 topic1/1 topic2/1"},
		// from the comment in AbstractStickyAssignorTest
		"what sticky does better": {"topic1:2 topic2:1 topic3:2 topic4:1 topic5:2",
			[]string{"consumer1", "consumer2 wants topic1 topic3 topic5", "consumer3 wants topic1 topic3 topic5", "consumer4"},
			"consumer1 topic1/0 topic3/0 topic5/0, consumer2 topic1/1 topic3/1 topic5/1, consumer3, consumer4 topic2/0 topic4/0"},
	} {
		t.Run(name, func(t *testing.T) { c.run(t, RoundRobin()) })
	}
}
