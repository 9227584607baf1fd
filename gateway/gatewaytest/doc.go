// Package gatewaytest has the tests that every backend of package gateway must pass, and a
// backend in memory.
//
// [Test] runs the tests. They know a backend only through a [Subject]: it opens the backend
// as often as a test needs processes, lets stored responses expire, and kills a process.
//
// [Memory] keeps claims and responses in memory. It is for tests of handlers, and for
// programs with one process that may forget everything when they end.
package gatewaytest
