// Package banklog reads real event logs of business processes and turns them
// into a state machine and into messages, so that the framework can be tested
// on input that nobody made up for it.
//
// The logs are not part of the repository. They are looked for in ../shared/data
// beside it; tests that need them say so and skip where they are absent.
package banklog
