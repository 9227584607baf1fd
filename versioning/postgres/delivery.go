package postgres

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/pawl-go/pawl/versioning"
)

// encodeDelivery returns the changes of a prepared record in the form of encodeChanges, also
// of those that can't be made. It returns nil if JSON would change them: they have texts that
// are not valid UTF-8.
func (s *snapshot) encodeDelivery(r *versioning.Record) []byte {
	stored := make([]storedChange, len(r.Changes))
	for i := range r.Changes {
		c := &r.Changes[i]
		stored[i] = s.encodeChange(r, i)
		if t := s.byMachine[c.Machine]; t == nil || len(stored[i].Set) < len(c.Set) {
			stored[i].Set = s.plainOf(c.Set)
		}
		if stored[i].Data == nil && c.Data != nil {
			stored[i].Data = bestJSON(c.Data)
		}
		if r.Err == nil {
			stored[i].Digest = r.Digest(i)
		}
		if !stored[i].isText() {
			return nil
		}
	}
	return []byte(mustJSON(stored))
}

// isText reports whether all texts of a change are valid UTF-8.
func (c *storedChange) isText() bool {
	for name, text := range c.Set {
		if !utf8.ValidString(name) || text != nil && !utf8.ValidString(*text) {
			return false
		}
	}
	return utf8.ValidString(c.Machine) && utf8.ValidString(c.Key) && utf8.ValidString(c.Event) &&
		utf8.ValidString(c.MessageID) && utf8.ValidString(c.FormerID)
}

// plainOf returns columns as text that does not depend on the table, which may lack them.
func (s *snapshot) plainOf(set versioning.Columns) map[string]*string {
	texts := make(map[string]*string, len(set))
	for name, value := range set {
		texts[name] = nil
		if text, null := s.types.plain(value, ""); !null {
			texts[name] = &text
		}
	}
	return texts
}

// bestJSON returns JSON for data that does not fit its event, or nil. It calls methods of the
// data, which may panic.
func bestJSON(data any) (text json.RawMessage) {
	defer func() {
		if recover() != nil {
			text = nil
		}
	}()
	text, err := json.Marshal(data)
	if err != nil {
		return nil
	}
	return text
}

// decodeDelivery restores the changes of a dead letter that was delivered.
func (s *snapshot) decodeDelivery(r *versioning.Record) {
	var stored []storedChange
	if err := json.Unmarshal(r.Value, &stored); err != nil {
		r.Changes, r.Err = nil, fmt.Errorf("delivered changes: %w", err)
		return
	}
	r.Err, r.Direct = nil, false
	r.Changes = make([]versioning.Change, len(stored))
	digests := make([]versioning.Digest, len(stored))
	for i := range stored {
		c := &stored[i]
		r.Changes[i] = c.change()
		r.Changes[i].Set = c.columns()
		digests[i] = c.Digest
		if c.Data == nil {
			continue
		}
		rules := s.rules[c.Machine]
		if err := rules.DecodeData(r, i, c.Data); err != nil || r.Changes[i].Data == nil {
			r.Changes[i].Data = c.Data // Prepare says what is wrong with it
		}
	}
	own(r).digests = digests
}
