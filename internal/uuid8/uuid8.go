// Package uuid8 makes UUIDs of version 8 (RFC 9562) from hashes: identifiers that whoever
// knows the same thing derives again.
package uuid8

import (
	"crypto/sha256"
	"encoding/hex"
)

// A UUID is one in binary.
type UUID [16]byte

// Of returns the UUID with the first bits of a hash.
func Of(hash [sha256.Size]byte) (id UUID) {
	copy(id[:], hash[:])
	id[6] = id[6]&0x0f | 0x80 // the version
	id[8] = id[8]&0x3f | 0x80 // the variant
	return id
}

// String returns the usual form, such as 2489e9ad-2ee2-8e00-8ec9-32d5f69181c0.
func (id UUID) String() string {
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
