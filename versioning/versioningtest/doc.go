// Package versioningtest helps to test code that uses package versioning.
//
// [NewMemory] returns a store in memory. It decides like a [postgres.Store], because
// both call [versioning.Fold]. Tests can inspect it and make it fail. [Run] is the
// conformance suite that both stores pass.
package versioningtest
