package consumer

import "crypto/sha256"

// topicID returns the identity of a topic: the UUID that the broker gave it, or,
// with brokers older than Kafka 3.1, which give none, one that is derived from
// its name. No two topics share one. With such brokers a topic that is deleted
// and made again can't be told from the old one.
func topicID(topic string, fromBroker [16]byte) [16]byte {
	if fromBroker != [16]byte{} {
		return fromBroker
	}
	sum := sha256.Sum256([]byte("pawl topic\x00" + topic))
	id := [16]byte(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8: made up by its own rules
	id[8] = id[8]&0x3f | 0x80
	return id
}
