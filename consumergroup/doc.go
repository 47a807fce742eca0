// Package consumergroup shares the partitions of topics among the members of a
// group, remembers how far they got, and moves partitions when members come and
// go. All of it happens in the process: there is one coordinator for each group
// and store, and it has no goroutine of its own.
//
//	group, err := topic.Group("order-processors", consumergroup.Config{})
//	member, err := group.Join(ctx, consumergroup.MemberConfig{})
//	for {
//		recs, err := member.Poll(ctx, 0)
//		…                       // process them
//		err = member.Commit(ctx) // they are done
//	}
//
// Or have it done:
//
//	err = group.Run(ctx, consumergroup.RunConfig{Workers: 4}, handle)
//
// # What is promised
//
// A partition has one owner at a time, and its records come in order. When it
// moves, the new owner gets nothing before the old one committed what it was
// given and let go, in its next Poll, Commit or Close, or was fenced. What does
// not move is not interrupted. A record that was not committed comes again:
// processing is at least once, and with CommitPolicy.BeforeHandOut at most once.
//
// # Liveness
//
// Liveness is progress: a member that neither polls, commits nor calls
// Heartbeat for Config.PollInterval loses its partitions, and everything it
// does afterwards fails with ErrFenced. A member that waits in Poll is alive.
package consumergroup
