// Package sim runs thousands of short histories of workers under faults, with
// an in-memory broker, the in-memory store and virtual time (testing/synctest).
// Workers join, leave and die. The broker, the network and the store fail.
// Backups of the database are restored, which lose what was committed since.
// Then the faults end, and a checker, which knows the rules but not the
// history, checks the content of the store.
//
// Half of the histories also have transfers between accounts, whose transitions compute.
// Another application writes the same rows meanwhile, and counts its writes.
//
// Half of them also have alarms, whose transitions emit messages and set timers. The workers'
// relays publish the messages, and die in between. Each message of a committed transition must
// be on its topic, in the order of its entity, and no other message; and each timer must fire
// once, not early, if its entity is still in the state that armed it.
//
// [draw] draws the script of a history from a seed, [play] runs it and [check]
// checks the result. The machine, the traffic and all faults depend only on the
// seed. The order of goroutines that are ready at the same virtual time does
// not, so a seed that failed once may take several attempts to fail again.
package sim
