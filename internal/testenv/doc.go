// Package testenv provides PostgreSQL databases and Kafka topics for tests.
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
//	var schema = testenv.Template("pawl", migrate.Up)
//
//	func TestStore(t *testing.T) {
//		pool := testenv.Pool(t, schema) // a clean database for this test
//		topic := testenv.Topic(t, 3)    // a topic for this test
//		...
//	}
//
// # Which servers the tests use
//
// Kafka and PostgreSQL are each chosen when a test first asks for them:
//
//  1. a running server, named by DATABASE_URL or KAFKA_BROKERS (host:port,
//     separated by commas);
//  2. otherwise a container, if a Docker engine answers;
//  3. otherwise package embedded: the machine's PostgreSQL as a child process,
//     and kfake inside this process.
//
// PAWL_TEST_ENV=servers, containers or embedded allows only that kind. If a
// named server or a forced kind is not available, the test fails. If a
// container does not start and nothing was forced, the embedded kind replaces
// it. No test is skipped, except tests that call [PgBouncer] on a machine
// without it.
//
// At the end of a run, one line on stderr says what was used:
//
//	testenv: kafka=kfake (embedded) postgres=/usr/lib/postgresql/15/bin (embedded, 15.18)
package testenv
