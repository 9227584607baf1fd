package registry

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

const guid = "00112233-4455-6677-8899-aabbccddeeff"

var guidBytes = []byte("\x01\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")

func header(values ...string) (all []versioning.Header) {
	for _, v := range values {
		all = append(all, versioning.Header{Key: SchemaHeader, Value: []byte(v)})
	}
	return all
}

func TestSplit(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		r       versioning.Record
		indexed bool
		id      string // "" is an error
		index   []int
		data    string
	}{
		"ID":                 {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07abc")}, false, "7", nil, "abc"},
		"largest ID":         {versioning.Record{Value: []byte("\x00\x7f\xff\xff\xff")}, false, "2147483647", nil, ""},
		"GUID":               {versioning.Record{Value: append(bytes.Clone(guidBytes), "abc"...)}, false, guid, nil, "abc"},
		"GUID in the header": {versioning.Record{Value: []byte("abc"), Headers: header(string(guidBytes))}, false, guid, nil, "abc"},
		"ID in the header":   {versioning.Record{Value: []byte("abc"), Headers: header("\x00\x00\x00\x00\x07")}, false, "7", nil, "abc"},
		"the last header":    {versioning.Record{Value: []byte("abc"), Headers: header("\x00\x00\x00\x00\x08", "\x00\x00\x00\x00\x07")}, false, "7", nil, "abc"},
		"more in the header": {versioning.Record{Value: []byte("abc"), Headers: header(string(guidBytes) + "\x00")}, false, guid, nil, "abc"},
		"first message":      {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07\x00abc")}, true, "7", []int{0}, "abc"},
		"second message":     {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07\x02\x02abc")}, true, "7", []int{1}, "abc"},
		"nested message":     {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07\x04\x02\x00abc")}, true, "7", []int{1, 0}, "abc"},
		"index in the header": {
			versioning.Record{Value: []byte("abc"), Headers: header(string(guidBytes) + "\x04\x02\x00")}, true, guid, []int{1, 0}, "abc",
		},

		"tombstone":               {versioning.Record{}, false, "", nil, ""},
		"tombstone, GUID":         {versioning.Record{Headers: header(string(guidBytes))}, false, "", nil, ""},
		"empty":                   {versioning.Record{Value: []byte{}}, false, "", nil, ""},
		"short ID":                {versioning.Record{Value: []byte("\x00\x00\x00\x07")}, false, "", nil, ""},
		"short GUID":              {versioning.Record{Value: guidBytes[:16]}, false, "", nil, ""},
		"other magic":             {versioning.Record{Value: []byte("\x02\x00\x00\x00\x07abc")}, false, "", nil, ""},
		"JSON":                    {versioning.Record{Value: []byte(`{"id":"1"}`)}, false, "", nil, ""},
		"ID 0":                    {versioning.Record{Value: []byte("\x00\x00\x00\x00\x00abc")}, false, "", nil, ""},
		"negative ID":             {versioning.Record{Value: []byte("\x00\x80\x00\x00\x00abc")}, false, "", nil, ""},
		"empty header":            {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07abc"), Headers: header("")}, false, "", nil, ""},
		"no index":                {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07")}, true, "", nil, ""},
		"negative length":         {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07\x01\x00")}, true, "", nil, ""},
		"negative index":          {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07\x02\x01")}, true, "", nil, ""},
		"cut index":               {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07\x04\x02")}, true, "", nil, ""},
		"enormous length":         {versioning.Record{Value: []byte("\x00\x00\x00\x00\x07\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")}, true, "", nil, ""},
		"too deep":                {versioning.Record{Value: append([]byte("\x00\x00\x00\x00\x07\xca\x01"), make([]byte, 200)...)}, true, "", nil, ""},
		"index not in the header": {versioning.Record{Value: []byte("\x00abc"), Headers: header(string(guidBytes))}, true, "", nil, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := split(&c.r, c.indexed)
			if c.id == "" {
				if !errors.Is(err, ErrFormat) || errors.Is(err, versioning.ErrInfrastructure) {
					t.Errorf("%+v, %v", f, err)
				}
				return
			}
			if err != nil || f.id.String() != c.id || !slices.Equal(f.index, c.index) || string(f.data) != c.data {
				t.Errorf("%v %v %q, %v", f.id, f.index, f.data, err)
			}
		})
	}
}

// A prefix is read as it was written.
func TestPrefix(t *testing.T) {
	t.Parallel()
	for _, index := range [][]int{nil, {0}, {1}, {0, 0}, {3, 200, 7}} {
		prefix, err := prefixOf(7, index)
		if err != nil || cap(prefix) != len(prefix) {
			t.Fatalf("%x, %v", prefix, err)
		}
		f, err := split(&versioning.Record{Value: append(prefix, "abc"...)}, index != nil)
		if err != nil || f.id.number() != 7 || !slices.Equal(f.index, index) || string(f.data) != "abc" {
			t.Errorf("%v: %v %v %q, %v", index, f.id, f.index, f.data, err)
		}
	}
	for _, id := range []int{0, -1, maxID + 1} {
		if prefix, err := prefixOf(id, nil); err == nil {
			t.Errorf("ID %d: %x", id, prefix)
		}
	}
}

// No bytes make split panic or allocate much, and what it takes away is not lost.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x07\x04\x02\x00abc"), []byte(nil), false)
	f.Add([]byte("abc"), append(bytes.Clone(guidBytes), 0), true)
	f.Add([]byte("\x00\x00\x00\x00\x07\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), []byte(nil), false)
	f.Fuzz(func(t *testing.T, value, name []byte, inHeader bool) {
		r := versioning.Record{Value: value}
		if inHeader {
			r.Headers = header(string(name))
		}
		for _, indexed := range []bool{false, true} {
			got, err := split(&r, indexed)
			if err != nil {
				if !errors.Is(err, ErrFormat) {
					t.Fatal(err)
				}
				continue
			}
			if len(got.index) > maxDepth || indexed == (got.index == nil) {
				t.Fatalf("index %v", got.index)
			}
			if inHeader && !bytes.Equal(got.data, value) || !inHeader && !bytes.HasSuffix(value, got.data) {
				t.Fatalf("data %x of %x", got.data, value)
			}
			if !got.id.isGUID && !inHeader && (len(got.index) != 1 || got.index[0] != 0) { // 0 has two encodings
				prefix, err := prefixOf(got.id.number(), got.index)
				if err != nil {
					t.Fatal(err)
				}
				again, err := split(&versioning.Record{Value: append(prefix, got.data...)}, indexed)
				if err != nil || again.id != got.id || !slices.Equal(again.index, got.index) || !bytes.Equal(again.data, got.data) {
					t.Fatalf("%+v, then %+v, %v", got, again, err)
				}
			}
		}
	})
}
