// Package embedded runs PostgreSQL and a Kafka broker for examples and tests on
// machines where neither has been set up.
//
// [StartPostgres] runs a real PostgreSQL server on loopback with its data in a
// temporary directory. It uses the server installed on the machine or, if there
// is none, downloads one. It works as root too: PostgreSQL refuses to run as
// root, so the server then runs as an unprivileged user.
//
// [StartKafka] runs an in-process broker that speaks the Kafka protocol and
// keeps its topics in memory.
//
// Neither outlives the process that started it, however that process ends: on
// Linux the kernel stops the server when its parent dies. On other systems a
// process that is killed with SIGKILL leaves its server running.
package embedded
