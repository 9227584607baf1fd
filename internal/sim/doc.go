// Package sim plays short histories of workers under faults, thousands of them:
// an in-memory broker, the in-memory store, a bubble of virtual time, and a seed
// from which everything else follows. Workers join, leave and die; the broker,
// the network and the store fail, and backups of the database are restored, which
// lack what was committed since; then the faults end, and a checker, which knows the
// rules and no history, judges what the store holds.
//
// A history is made by [draw], played by [play] and judged by [check]. The
// machine, the traffic and all faults follow from the seed; the order in which
// goroutines run at one moment of virtual time does not, so a seed that failed
// once may take several attempts to fail again.
package sim
