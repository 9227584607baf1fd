// Package model computes the expected result of messages in the simplest
// possible way: one message after another, with plain lists and searches. It
// shares no code with the framework except the types of a definition. Tests
// compare the framework's results with it.
package model
