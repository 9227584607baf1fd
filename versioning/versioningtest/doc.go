// Package versioningtest is for tests of what is built on package versioning.
//
// [NewMemory] makes a store in memory: it decides as a [postgres.Store] does,
// because it asks the same [versioning.Fold], and it can be looked into and
// made to fail. [Run] is the conformance suite that both stores pass.
package versioningtest
