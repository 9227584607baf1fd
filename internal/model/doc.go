// Package model says what must become of messages, in the plainest way that
// there is: one message after the other, with lists and searches and nothing
// clever. It shares no code with the framework but the types of a definition,
// and is what tests hold the framework's answers against.
package model
