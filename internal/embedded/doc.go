// Package embedded runs what a worker needs, PostgreSQL and a Kafka broker,
// inside or under the current process, so that an example or a test starts on
// a machine where nothing has been set up.
//
// [StartPostgres] runs a real PostgreSQL server on loopback with its data in a
// temporary directory. It uses the server installed on the machine and, where
// there is none, downloads one. It works as root too, which PostgreSQL itself
// refuses: the server then runs under an unprivileged account.
//
// [StartKafka] runs an in-process broker that speaks the Kafka protocol and
// keeps its topics in memory.
//
// Neither outlives the process that started it, however that process ends: on
// Linux the kernel stops the server when its parent dies. Elsewhere a process
// that is killed outright leaves its server running.
package embedded
