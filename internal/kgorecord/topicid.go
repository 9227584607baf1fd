package kgorecord

import "crypto/sha256"

// TopicID returns the ID of a topic: the broker's UUID, or one derived from the topic's name
// for brokers older than Kafka 3.1, which return none. Different topics have different IDs,
// except that with such brokers a re-created topic has the ID of the old one.
func TopicID(topic string, fromBroker [16]byte) [16]byte {
	if fromBroker != [16]byte{} {
		return fromBroker
	}
	sum := sha256.Sum256([]byte("pawl topic\x00" + topic))
	id := [16]byte(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // UUID version 8: custom
	id[8] = id[8]&0x3f | 0x80
	return id
}
