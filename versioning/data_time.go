package versioning

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// withSeconds is RFC 3339 for offsets that are not whole minutes, as many places had
// before they had time zones.
const withSeconds = "2006-01-02T15:04:05.999999999Z07:00:00"

func encodeTime(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	t := timeIn(v)
	start := len(dst)
	dst = append(dst, '"')
	dst = t.AppendFormat(dst, time.RFC3339Nano)
	if year := dst[start+1:]; year[0] == '-' || year[4] != '-' {
		return dst, errors.New("a year outside 0 to 9999 can't be stored")
	}
	if dst[len(dst)-1] != 'Z' {
		if _, offset := t.Zone(); offset%60 != 0 || offset <= -24*3600 || offset >= 24*3600 {
			return appendOddTime(dst[:start], t, offset)
		}
	}
	return append(dst, '"'), nil
}

// appendOddTime appends a time whose offset RFC 3339 does not have.
func appendOddTime(dst []byte, t time.Time, offset int) ([]byte, error) {
	text := t.Format(withSeconds)
	got, err := parseTime(text)
	if _, kept := got.Zone(); err != nil || kept != offset || !got.Equal(t) {
		return dst, fmt.Errorf("an offset of %d seconds can't be stored", offset)
	}
	return appendString(dst, text), nil
}

func decodeTime(p *dataParser, v reflect.Value) error {
	text, err := p.plainString()
	if err != nil {
		return err
	}
	t, err := parseTime(text)
	*v.Addr().Interface().(*time.Time) = t
	return err
}

// parseTime does not use time.Parse, which sets the local time zone where its offset
// fits: a time would depend on the machine that decodes it.
func parseTime(text string) (time.Time, error) {
	t, err := time.ParseInLocation(time.RFC3339Nano, text, time.UTC)
	if err != nil {
		if t, withErr := time.ParseInLocation(withSeconds, text, time.UTC); withErr == nil {
			return t, nil
		}
	}
	return t, err
}

// isZeroTime reports whether a time is decoded as the zero time. It may have a location
// with an offset of 0.
func isZeroTime(v reflect.Value) bool {
	t := timeIn(v)
	if !t.IsZero() {
		return false
	}
	_, offset := t.Zone()
	return offset == 0
}

func timeIn(v reflect.Value) time.Time {
	if v.CanAddr() { // v.Interface would allocate a copy
		return *v.Addr().Interface().(*time.Time)
	}
	return v.Interface().(time.Time)
}
