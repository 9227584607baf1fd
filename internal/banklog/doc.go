// Package banklog reads real event logs of business processes and turns them
// into a state machine and messages. It lets the framework be tested on input
// that was not made up for it.
//
// The logs are not in this repository. Package banklog expects them in
// ../shared/data next to it. Tests skip, with a message, if they are missing.
package banklog
