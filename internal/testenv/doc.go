// Package testenv gives tests a PostgreSQL database and a Kafka broker.
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
//	var schema = testenv.Template("pawl", migrate.Up)
//
//	func TestStore(t *testing.T) {
//		pool := testenv.Pool(t, schema) // a clean database, all its own
//		topic := testenv.Topic(t, 3)    // a topic, all its own
//		...
//	}
//
// # What the tests run against
//
// Each of the two is chosen when the first test of a process asks for it:
//
//  1. a server that runs already, named by DATABASE_URL or KAFKA_BROKERS
//     (host:port, separated by commas);
//  2. else a container, where a Docker engine answers;
//  3. else what package embedded runs: the machine's own PostgreSQL under
//     this process, and kfake inside it.
//
// PAWL_TEST_ENV=servers, containers or embedded allows that one only. What is
// named or forced and cannot be had fails the test; a container that does not
// start when nothing was forced is replaced by the embedded kind. No test is
// ever skipped, except those of [PgBouncer] where there is none.
//
// At the end of a run one line on stderr says what was chosen:
//
//	testenv: kafka=kfake (embedded) postgres=/usr/lib/postgresql/15/bin (embedded, 15.18)
package testenv
