// Package measure creates databases and topics, runs the contenders in separate
// processes, alternating between them, and checks the contents of their tables.
package measure
