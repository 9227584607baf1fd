package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// This file has the binary format of column messages of table outbox. Numbers are varints,
// as in package encoding/binary. A string is its length and its bytes.
//
//	byte     version, 1
//	number   of names
//	string   for each name
//	         for each message, up to the end:
//	name     source, machine, event, topic, content type: an index into the names
//	string   entity
//	number   version, index, attempts
//	signed   time: seconds since 1970
//	number   and nanoseconds
//	byte     flags
//	string   key, if it is neither nil nor the entity
//	string   value, if it is not nil
//	number   of headers
//	name     key, for each header
//	number   0 if the value is nil, else 1 and a string
const packVersion = 1

// Flags of a message.
const (
	keyIsNil    = 1 << iota
	keyIsEntity // as most are
	valueIsNil
	knownFlags = 1<<iota - 1
)

// A packer encodes messages for one pack. The zero value is an empty pack.
type packer struct {
	names map[string]uint64
	list  []string
	body  []byte
	n     int
}

// add appends a message.
func (p *packer) add(m *versioning.Emitted) {
	for _, name := range [...]string{m.Source, m.Entity.Machine, string(m.Event), m.Topic, m.ContentType} {
		p.name(name)
	}
	p.text(m.Entity.Key)
	p.number(uint64(m.Version))
	p.number(uint64(m.Index))
	p.number(uint64(m.Attempts))
	p.body = binary.AppendVarint(p.body, m.Time.Unix())
	p.number(uint64(m.Time.Nanosecond()))
	flags := byte(0)
	switch {
	case m.Key == nil:
		flags |= keyIsNil
	case string(m.Key) == m.Entity.Key:
		flags |= keyIsEntity
	}
	if m.Value == nil {
		flags |= valueIsNil
	}
	p.body = append(p.body, flags)
	if flags&(keyIsNil|keyIsEntity) == 0 {
		p.text(string(m.Key))
	}
	if flags&valueIsNil == 0 {
		p.bytes(m.Value)
	}
	p.number(uint64(len(m.Headers)))
	for _, h := range m.Headers {
		p.name(h.Key)
		if h.Value == nil {
			p.number(0)
			continue
		}
		p.number(1)
		p.bytes(h.Value)
	}
	p.n++
}

func (p *packer) number(n uint64) { p.body = binary.AppendUvarint(p.body, n) }

func (p *packer) text(s string) {
	p.number(uint64(len(s)))
	p.body = append(p.body, s...)
}

func (p *packer) bytes(b []byte) {
	p.number(uint64(len(b)))
	p.body = append(p.body, b...)
}

func (p *packer) name(s string) {
	i, ok := p.names[s]
	if !ok {
		if p.names == nil {
			p.names = make(map[string]uint64)
		}
		i = uint64(len(p.list))
		p.names[s], p.list = i, append(p.list, s)
	}
	p.number(i)
}

// pack returns the pack, and makes the packer empty.
func (p *packer) pack() (data []byte, n int) {
	size := 1 + binary.MaxVarintLen64 + len(p.body)
	for _, s := range p.list {
		size += binary.MaxVarintLen64 + len(s)
	}
	data = append(make([]byte, 0, size), packVersion)
	data = binary.AppendUvarint(data, uint64(len(p.list)))
	for _, s := range p.list {
		data = append(binary.AppendUvarint(data, uint64(len(s))), s...)
	}
	data, n = append(data, p.body...), p.n
	*p = packer{}
	return data, n
}

// errPack says that a pack can't be read.
var errPack = errors.New("the row of table outbox is damaged, or a newer version of Pawl wrote it")

// unpack decodes a pack. The messages share memory with data.
func unpack(data []byte) ([]versioning.Emitted, error) {
	if len(data) == 0 || data[0] != packVersion {
		return nil, fmt.Errorf("%w: unknown format", errPack)
	}
	u := unpacker{rest: data[1:]}
	names := make([]string, 0, u.count(1))
	for range cap(names) {
		names = append(names, string(u.bytes()))
	}
	u.names = names
	var messages []versioning.Emitted
	for len(u.rest) > 0 && !u.failed {
		messages = append(messages, u.message())
	}
	if u.failed {
		return nil, fmt.Errorf("%w: message %d", errPack, len(messages))
	}
	return messages, nil
}

// An unpacker reads the parts of a pack. After a failure, it returns zero values.
type unpacker struct {
	rest   []byte
	names  []string
	failed bool
}

func (u *unpacker) message() (m versioning.Emitted) {
	m.Source, m.Entity.Machine, m.Event = u.name(), u.name(), statemachine.Event(u.name())
	m.Topic, m.ContentType = u.name(), u.name()
	m.Entity.Key = string(u.bytes())
	m.Version, m.Index, m.Attempts = int64(u.number()), int(u.number()), int(u.number())
	seconds := u.signed()
	m.Time = time.Unix(seconds, int64(u.number()%uint64(time.Second))).UTC()
	flags := u.byte()
	if flags > knownFlags {
		u.failed = true
	}
	switch {
	case flags&keyIsNil != 0:
	case flags&keyIsEntity != 0:
		m.Key = []byte(m.Entity.Key)
	default:
		m.Key = u.bytes()
	}
	if flags&valueIsNil == 0 {
		m.Value = u.bytes()
	}
	m.Headers = make([]versioning.Header, u.count(2))
	for i := range m.Headers {
		m.Headers[i].Key = u.name()
		if u.number() != 0 {
			m.Headers[i].Value = u.bytes()
		}
	}
	if len(m.Headers) == 0 {
		m.Headers = nil
	}
	return m
}

func (u *unpacker) number() uint64 {
	n, size := binary.Uvarint(u.rest)
	return u.after(n, size)
}

func (u *unpacker) signed() int64 {
	n, size := binary.Varint(u.rest)
	return int64(u.after(uint64(n), size))
}

func (u *unpacker) after(n uint64, size int) uint64 {
	if size <= 0 || u.failed {
		u.failed = true
		return 0
	}
	u.rest = u.rest[size:]
	return n
}

// count returns a number of things that take at least size bytes each.
func (u *unpacker) count(size int) int {
	n := u.number()
	if n > uint64(len(u.rest)/size) {
		u.failed = true
		return 0
	}
	return int(n)
}

func (u *unpacker) bytes() []byte {
	n := u.number()
	if u.failed || n > uint64(len(u.rest)) {
		u.failed = true
		return nil
	}
	b := u.rest[:n:n]
	u.rest = u.rest[n:]
	return b
}

func (u *unpacker) byte() byte {
	if u.failed || len(u.rest) == 0 {
		u.failed = true
		return 0
	}
	b := u.rest[0]
	u.rest = u.rest[1:]
	return b
}

func (u *unpacker) name() string {
	i := u.number()
	if u.failed || i >= uint64(len(u.names)) {
		u.failed = true
		return ""
	}
	return u.names[i]
}
