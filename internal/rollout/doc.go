// Package rollout tests rolling deploys: workers in separate processes change one after another
// to another version of a machine, and back, while records arrive and processes are killed.
//
//	go test ./internal/rollout                                        # a short run
//	go test ./internal/rollout -rollout.cycles 5 -rollout.seed 1      # a longer one
package rollout
