package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"os"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A spill keeps entities of a [Rehearsal] in a temporary file, to which it only appends. In
// memory it has a number for each of them.
type spill struct {
	file *os.File
	size int64
	last map[uint64]int64 // by the entity's hash: where the last entity with it begins
	seed maphash.Seed
	buf  []byte
}

// noneBefore says that no other entity has the same hash.
const noneBefore = -1

// put appends entities.
func (s *spill) put(entities map[versioning.Entity]*imaginedEntity, rows func(machine string) *rowType) (err error) {
	if s.file == nil {
		if s.file, err = os.CreateTemp("", "pawl-rehearsal-*"); err != nil {
			return fmt.Errorf("create a file for what a rehearsal has changed: %w", err)
		}
		_ = os.Remove(s.file.Name()) // then nothing is left behind if the process dies; some systems refuse
		s.last, s.seed = make(map[uint64]int64), maphash.MakeSeed()
	}
	s.buf = s.buf[:0]
	places := make(map[uint64]int64, len(entities)) // they count once they are written
	for name, e := range entities {
		hash := s.hash(name)
		before, ok := places[hash]
		if !ok {
			before, ok = s.last[hash]
		}
		if !ok {
			before = noneBefore
		}
		at := len(s.buf)
		s.buf = binary.LittleEndian.AppendUint32(s.buf, 0) // the length, which is not known yet
		s.buf = binary.AppendVarint(s.buf, before)
		if s.buf, err = e.append(appendText(appendText(s.buf, name.Machine), name.Key), rows(name.Machine)); err != nil {
			return fmt.Errorf("keep entity %s of machine %s: %w", name.Key, name.Machine, err)
		}
		binary.LittleEndian.PutUint32(s.buf[at:], uint32(len(s.buf)-at-4))
		places[hash] = s.size + int64(at)
	}
	if _, err := s.file.WriteAt(s.buf, s.size); err != nil {
		return fmt.Errorf("write what a rehearsal has changed: %w", err)
	}
	s.size += int64(len(s.buf))
	maps.Copy(s.last, places)
	return nil
}

func (s *spill) hash(name versioning.Entity) uint64 { return maphash.Comparable(s.seed, name) }

// get returns an entity, or nil.
func (s *spill) get(name versioning.Entity) (*imaginedEntity, error) {
	if s.file == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	at, ok := s.last[s.hash(name)]
	for ok && at != noneBefore {
		d, err := s.read(at)
		if err != nil {
			return nil, fmt.Errorf("read what a rehearsal has changed: %w", err)
		}
		at = d.number()
		if machine, key := d.text(), d.text(); machine == name.Machine && key == name.Key {
			e := d.entity()
			return e, d.err
		}
	}
	return nil, nil //nolint:nilnil // there is none
}

func (s *spill) read(at int64) (*spillDecoder, error) {
	var size [4]byte
	if _, err := s.file.ReadAt(size[:], at); err != nil {
		return nil, err
	}
	text := make([]byte, binary.LittleEndian.Uint32(size[:]))
	_, err := s.file.ReadAt(text, at+int64(len(size)))
	return &spillDecoder{rest: text}, err
}

// close removes the file.
func (s *spill) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if removed := os.Remove(s.file.Name()); removed != nil && !errors.Is(removed, os.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// append appends the entity's encoding. t is the type of its rows, or nil.
func (e *imaginedEntity) append(b []byte, t *rowType) ([]byte, error) {
	b = binary.AppendVarint(appendText(b, string(e.row.State)), e.row.Version)
	b = binary.AppendUvarint(binary.AppendVarint(b, e.first), uint64(len(e.steps)))
	for i := range e.steps {
		s := &e.steps[i]
		b = appendText(appendText(appendText(b, string(s.Event)), s.MessageID), s.Origin.Topic)
		b = append(b, s.Origin.TopicID[:]...)
		b = binary.AppendVarint(binary.AppendVarint(b, int64(s.Origin.Partition)), s.Origin.Offset)
		b = binary.AppendVarint(b, int64(s.Digest))
	}
	data, _ := e.row.Data.(*rowData)
	if data == nil {
		return binary.AppendUvarint(b, 0), nil
	}
	cells, err := t.cellsOf(data)
	b = binary.AppendUvarint(b, uint64(len(cells))+1)
	for _, c := range cells {
		set := uint64(0)
		if c.isSet {
			set = 1
		}
		b = appendText(binary.AppendUvarint(b, set<<1|uint64(c.format&1)), c.value)
	}
	return b, err
}

// cellsOf returns the values of a row.
func (t *rowType) cellsOf(data *rowData) ([]cell, error) {
	if !data.row.IsValid() {
		return data.cells, nil
	}
	m := t.maps.Get().(*pgtype.Map) //nolint:forcetypeassert // nothing else is stored
	defer t.maps.Put(m)
	cells := make([]cell, len(t.fields))
	for i := range t.fields {
		text, null, err := t.fields[i].encode(m, data.row.FieldByIndex(t.fields[i].Index))
		if err != nil {
			return nil, err
		}
		cells[i] = cell{value: text, isSet: !null, format: pgtype.TextFormatCode}
	}
	return cells, nil
}

// errSpill says that the file is not what was written.
var errSpill = errors.New("the temporary file has changed")

// A spillDecoder decodes an entity. After an error, everything is zero.
type spillDecoder struct {
	rest []byte
	err  error
}

func (d *spillDecoder) number() int64 {
	n, size := binary.Varint(d.rest)
	d.take(size)
	return n
}

func (d *spillDecoder) count() uint64 {
	n, size := binary.Uvarint(d.rest)
	d.take(size)
	return n
}

func (d *spillDecoder) text() string { return string(d.take(int(d.count()))) }

// take returns the next n bytes.
func (d *spillDecoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.err, d.rest = errSpill, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *spillDecoder) entity() *imaginedEntity {
	e := &imaginedEntity{row: versioning.Row{State: statemachine.State(d.text()), Version: d.number()}, first: d.number()}
	for range d.count() {
		if d.err != nil {
			break
		}
		s := versioning.PastStep{Event: statemachine.Event(d.text()), MessageID: d.text()}
		s.Origin.Topic = d.text()
		copy(s.Origin.TopicID[:], d.take(len(s.Origin.TopicID)))
		s.Origin.Partition, s.Origin.Offset = int32(d.number()), d.number()
		s.Digest = versioning.Digest(d.number())
		e.steps = append(e.steps, s)
	}
	n := d.count()
	if n == 0 || d.err != nil {
		return e
	}
	data := &rowData{cells: make([]cell, n-1)}
	for i := range data.cells {
		flags := d.count()
		data.cells[i] = cell{isSet: flags>>1 == 1, format: int16(flags & 1), value: d.text()}
	}
	e.row.Data = data
	return e
}
