// Package measure sets the stage for the contenders and runs them by turns: it
// makes databases and topics, starts each contender as a process of its own, and
// checks what it has left in its tables.
package measure
